package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// floors measure the machine without a server: what no chat server on it can go below.
func (b *bench) floors() error {
	if err := b.bareWrites(); err != nil {
		return err
	}
	return b.bareSyncs()
}

// bareWrites takes the CPU of one bare write(2) of a 400-byte frame, to 1,000 loopback sockets in turn.
func (b *bench) bareWrites() error {
	const sockets, rounds, frameSize = 1000, 50, 400
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	fds := make([]int, 0, sockets)
	for range sockets {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		raw, err := server.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return err
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	frame := make([]byte, frameSize)
	before, err := threadCPU()
	if err != nil {
		return err
	}
	for range rounds {
		for _, fd := range fds {
			if _, err := syscall.Write(fd, frame); err != nil {
				return err
			}
		}
	}
	after, err := threadCPU()
	b.writeFloor = (after - before).Seconds() * 1e6 / (sockets * rounds)
	b.report.low("floor", "write(2) of 400 bytes, 1,000 sockets", b.writeFloor, "µs CPU", 0)
	return err
}

// threadCPU is what this operating system thread has used.
func threadCPU() (time.Duration, error) {
	const thisThread = 1 // RUSAGE_THREAD
	var usage syscall.Rusage
	err := syscall.Getrusage(thisThread, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

// bareSyncs takes how often a second the disk takes 4 KiB for good: write and fdatasync.
func (b *bench) bareSyncs() (err error) {
	path := filepath.Join(b.dir, "chatapi-load-sync")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	const span = 2 * time.Second
	block, began := make([]byte, 4096), time.Now()
	var took []float64
	for time.Since(began) < span {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		took = append(took, time.Since(at).Seconds()*1000)
	}
	b.syncFloor = float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	b.report.high("floor", "4 KiB write + fdatasync", b.syncFloor, "per s", 0)
	b.report.low("floor", "4 KiB write + fdatasync, p50", took[len(took)/2], "ms", 0)
	b.report.low("floor", "4 KiB write + fdatasync, p99", took[len(took)*99/100], "ms", 0)
	return nil
}
