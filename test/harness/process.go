package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is a program that the harness has started and that ends with it.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
}

// run starts a program; it is killed when this process ends, however that ends.
func run(cmd *exec.Cmd) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
		close(p.exited)
	}()
	return p, nil
}

// ended reports whether the process has ended; one that never began has.
func (p *process) ended() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// code is the exit code of a process that has ended.
func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// killPatience is how long the kernel may take to end a process.
const killPatience = 10 * time.Second

// await waits for the end.
func (p *process) await(limit time.Duration) error {
	select {
	case <-p.exited:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d did not end within %s", p.cmd.Process.Pid, limit)
	}
}

// stopped sends SIGSTOP and returns when the process stands still.
func stopped(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	return Until(killPatience, fmt.Sprintf("process %d stands still", pid), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		line := string(stat)
		return strings.HasPrefix(line[strings.LastIndexByte(line, ')')+1:], " T")
	})
}

// goesOn sends SIGCONT.
func goesOn(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }

// kill is kill -9 of a process under a pid, which may be a child of p's; it returns when p is gone.
func (p *process) kill(pid int) error {
	if p.ended() {
		return nil
	}
	err := syscall.Kill(pid, syscall.SIGKILL)
	return errors.Join(p.await(killPatience), ignoreGone(err))
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
