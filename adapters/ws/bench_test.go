package ws

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/ports"
)

const (
	benchSockets = 1000
	benchPayload = 360 // a frame of about 400 bytes
)

// BenchmarkFanoutWrite is what a delivery costs this process: an iteration brings one frame to 1,000 loopback sockets,
// whose clients run in another process. "floor" is a bare write(2) for each frame on the same kind of connections; with
// "ack=auto" each write is told to the application, which keeps it until its next flush.
func BenchmarkFanoutWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, ack := range []string{"", "ack=auto"} {
		name := strings.TrimSuffix(", "+ack, ", ")
		b.Run("one frame a write"+name, func(b *testing.B) { benchFanout(b, 1, ack) })
		b.Run("4 frames at once"+name, func(b *testing.B) { benchFanout(b, 4, ack) })
		b.Run("16 frames at once"+name, func(b *testing.B) { benchFanout(b, 16, ack) })
	}
}

// cpuTime is the processor time this process has used.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func report(b *testing.B, cpu time.Duration) {
	deliveries := float64(b.N) * benchSockets
	b.ReportMetric(float64(cpu.Microseconds())/deliveries, "cpu-µs/delivery")
	b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(0, "ns/op")
}

func benchFanout(b *testing.B, burst int, ack string) {
	f := newFixture(b)
	f.rooms.confirmed = application.NewDelivery(nil, nil, wallClock{}, f.log)
	startReadersWith(b, strings.TrimPrefix(f.listen(b), "ws://"), benchSockets, ack)
	frame := inRoom(knownRoom, 1, 1, benchPayload)
	eventually(b, "greeted", func() bool { return f.stats.frames.Load() >= 2*benchSockets })
	sinks := make([]ports.Sink, benchSockets)
	for n := range sinks {
		sinks[n] = f.rooms.peer(n).sink
	}
	base, writes := f.stats.frames.Load(), f.stats.writes.Load()
	before := cpuTime()
	b.ResetTimer()
	for pushed := 0; pushed < b.N; {
		for n := 0; n < burst && pushed < b.N; n, pushed = n+1, pushed+1 {
			for _, sink := range sinks {
				if !sink.Push(frame) {
					b.Fatal("a queue was full")
				}
			}
		}
		for f.stats.frames.Load() < base+int64(pushed)*benchSockets {
			time.Sleep(200 * time.Microsecond) // spinning would be counted
		}
	}
	b.StopTimer()
	report(b, cpuTime()-before)
	b.ReportMetric(float64(b.N)*benchSockets/float64(f.stats.writes.Load()-writes), "frames/write")
}

func benchFloor(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	fds := make([]int, benchSockets)
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for n := range fds {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.Cleanup(func() { _ = conn.Close() })
			_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
			_ = conn.(*net.TCPConn).SetWriteBuffer(kernelBuffer)
			raw, _ := conn.(*net.TCPConn).SyscallConn()
			_ = raw.Control(func(fd uintptr) { fds[n] = int(fd) })
		}
	}()
	startReaders(b, listener.Addr().String(), benchSockets)
	<-accepted
	frame := event(1, benchPayload).Bytes
	before := cpuTime()
	b.ResetTimer()
	for range b.N {
		for _, fd := range fds {
			for {
				if _, err := syscall.Write(fd, frame); err == nil {
					break
				}
				runtime.Gosched()
			}
		}
	}
	b.StopTimer()
	report(b, cpuTime()-before)
}

// BenchmarkPush is what a frame costs on its way through the queue, the write left out.
func BenchmarkPush(b *testing.B) {
	for _, auto := range []bool{false, true} {
		b.Run(fmt.Sprintf("auto %v", auto), func(b *testing.B) {
			s := &Session{h: newHandler(&Handler{}), writing: true} // so that no flusher is asked for
			s.peer = &fakePeer{confirmed: application.NewDelivery(nil, nil, wallClock{}, s.h.log)}
			if auto {
				s.auto = &autoAck{}
			}
			frame := inRoom(knownRoom, 1, 1, benchPayload)
			b.ReportAllocs()
			for b.Loop() {
				s.Push(frame)
				s.wrote(len(frame.Bytes))
				s.writing = true
			}
		})
	}
}
