package deployments

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// clusterRun is one run of cluster.sh.
type clusterRun struct {
	base string // of the balancer
	key  string // of the demo tenant
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// output is what a process has printed so far.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// runCluster starts the script and waits until it says what to try.
func runCluster(t testing.TB, dir, kind string) *clusterRun {
	t.Helper()
	c := clusterScript(t, dir, kind)
	harness.Check(t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait() // the exit code is in its ProcessState
		close(c.done)
	}()
	t.Cleanup(func() {
		c.end(t)
		if t.Failed() {
			t.Logf("cluster.sh with %s printed\n%s", kind, c.out)
			for _, path := range harness.Must(filepath.Glob(filepath.Join(dir, "*.log")))(t) {
				log := read(t, path)
				t.Logf("%s ends with\n%s", filepath.Base(path), log[max(0, len(log)-1500):])
			}
		}
	})
	harness.Eventually(t, 2*time.Minute, "the cluster runs", func() bool {
		return c.ended() || strings.Contains(c.out.String(), "Ctrl-C ends everything.")
	})
	if c.ended() {
		t.Fatalf("it ended at its start")
	}
	c.base, c.key = c.printed(t, `(?m)^URL=(.*)$`), c.printed(t, `(?m)^KEY=(.*)$`)
	return c
}

func clusterScript(t testing.TB, dir, kind string) *clusterRun {
	t.Helper()
	c := &clusterRun{cmd: exec.Command(place(t, "cluster.sh")), out: &output{}, done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), "CHATAPI_BINARY="+harness.Must(harness.Binary())(t), "CLUSTER_DIR="+dir, "CLUSTER_LB="+kind,
		fmt.Sprintf("CLUSTER_PORT=%d", harness.Must(harness.FreePort())(t)))
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.WaitDelay = 5 * time.Second
	return c
}

func (c *clusterRun) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// end is Ctrl-C: the script ends with 0, and everything that it has started with it.
func (c *clusterRun) end(t testing.TB) {
	t.Helper()
	if c.ended() {
		return
	}
	pids := c.pids()
	harness.Check(t, c.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-c.done:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		t.Error("it does not end")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// pids are those that the script has told of, the ones that have ended since included.
func (c *clusterRun) pids() []int {
	var all []int
	for _, m := range regexp.MustCompile(`pid (\d+)`).FindAllStringSubmatch(c.out.String(), -1) {
		pid, _ := strconv.Atoi(m[1]) // digits
		all = append(all, pid)
	}
	return all
}

func (c *clusterRun) printed(t testing.TB, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(c.out.String())
	if m == nil {
		t.Fatalf("it did not print %s", pattern)
	}
	return m[1]
}

// TestTheClusterOfProcessesRunsBreaksAndStartsAgain follows what cluster.sh tells its user to try, behind each balancer, on one
// directory: the second start finds what the first has left.
func TestTheClusterOfProcessesRunsBreaksAndStartsAgain(t *testing.T) {
	t.Parallel()
	dir := reachableDir(t)
	first := runCluster(t, dir, "caddy")
	if other := clusterScript(t, dir, "caddy"); other.cmd.Run() == nil || !strings.Contains(other.out.String(), "runs on") {
		t.Errorf("a second one on the same directory: %s", other.out)
	}
	first.paste(t, 1)
	first.metricsExist(t)
	first.breakOne(t, "node1")
	first.breakOne(t, "redis")
	first.paste(t, 2)
	first.end(t)

	second := runCluster(t, dir, "nginx")
	if second.key != first.key {
		t.Error("the second start made another tenant")
	}
	second.paste(t, 3)
}

// reachableDir is one that other users can reach, unlike those of t.TempDir: run by root, Postgres is another user, and its
// data would lie elsewhere.
func reachableDir(t testing.TB) string {
	t.Helper()
	dir := harness.Must(os.MkdirTemp("", "chatapi-cluster-"))(t) //nolint:usetesting // see above
	t.Cleanup(func() { harness.Check(t, os.RemoveAll(dir)) })
	return dir
}

// paste runs the lines that the script prints to be pasted. They have been pasted n times then.
func (c *clusterRun) paste(t testing.TB, n int) {
	t.Helper()
	_, block, _ := strings.Cut(c.out.String(), "may meet another node):\n")
	block, _, _ = strings.Cut(block, "Be bob on a socket")
	cmd := exec.Command("bash", "-e")
	cmd.Stdin = strings.NewReader(block)
	out, err := cmd.CombinedOutput()
	if got := strings.Count(string(out), `"content":"Hello, Bob!"`); err != nil || got != n+1 {
		t.Errorf("pasted for the %d. time: %d messages, want the new one and %d in the history: %v\n%s", n, got, n, err, out)
	}
}

// breakOne kills one of the processes and waits until the script has brought it back and the cluster is whole.
func (c *clusterRun) breakOne(t testing.TB, name string) {
	t.Helper()
	pid, err := strconv.Atoi(c.printed(t, `(?m)^  `+name+` .* pid (\d+)$`))
	harness.Check(t, err)
	harness.Check(t, syscall.Kill(pid, syscall.SIGKILL))
	harness.Eventually(t, wait, name+" is back", func() bool { return strings.Contains(c.out.String(), name+" had ended; it is back") })
	harness.Eventually(t, wait, "the cluster is whole", func() bool {
		for _, node := range c.nodes(`http://127\.0\.0\.1:\d+`) {
			if body, err := fetch(node + "/health"); err != nil || !strings.Contains(body, `"status":"ok"`) {
				return false
			}
		}
		return true
	})
}

// nodes finds an address in each line about a node.
func (c *clusterRun) nodes(pattern string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^  node\d+ .*?(`+pattern+`)`).FindAllStringSubmatch(c.out.String(), -1) {
		all = append(all, m[1])
	}
	return all
}

// metricsExist holds what dashboard and alerts select against a node of the cluster, where it is not SQLite's.
func (c *clusterRun) metricsExist(t testing.TB) {
	t.Helper()
	pages := c.nodes(`http://127\.0\.0\.1:\d+/metrics`)
	if len(pages) != 3 {
		t.Fatalf("%d nodes, want 3", len(pages))
	}
	var all strings.Builder // what only one of the nodes has done yet
	for _, page := range pages {
		all.WriteString(harness.Must(fetch(page))(t))
	}
	has := scraped(all.String())
	for _, name := range onlyInACluster {
		if has[name] == nil {
			t.Errorf("a node of a cluster has no %s", name)
		}
	}
	for _, name := range onlyOnSQLite {
		if has[name] != nil {
			t.Errorf("%s is no metric of SQLite alone", name)
		}
		has[name] = []string{""}
	}
	for _, e := range slices.Concat(expressionsOfTheDashboard(t), expressionsOfTheAlerts(t), expressionsOfThePage(t)) {
		if gone := has.missing(withoutFaults(e.text)); len(gone) > 0 {
			t.Errorf("%s selects what a node of a cluster does not have: %v", e.where, gone)
		}
	}
	c.allAreShown(t, all.String())
}

func (c *clusterRun) allAreShown(t testing.TB, metrics string) {
	t.Helper()
	shown := shownOnTheDashboard(t)
	for _, name := range ownMetrics(metrics) {
		if !slices.Contains(shown, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func fetch(address string) (string, error) {
	res, err := (&http.Client{Timeout: wait}).Get(address)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
