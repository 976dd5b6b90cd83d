package inproc_test

import (
	"testing"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/bustest"
)

func TestBusKeepsItsContract(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(testing.TB) ports.Bus { return inproc.NewBus() })
}

func TestASignalIsDeliveredBeforePublishReturns(t *testing.T) {
	t.Parallel()
	bus := inproc.NewBus()
	var got []string
	for _, name := range []string{"first", "second"} {
		if _, err := bus.Subscribe("c", func(s ports.Signal) { got = append(got, name+" "+string(s.Payload)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Publish(t.Context(), "c", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != "first x" || got[1] != "second x" {
		t.Errorf("got %q, want first, then second, by the time Publish returned", got)
	}
}

func BenchmarkPublishToOneSubscriber(b *testing.B) {
	bus := inproc.NewBus()
	n := 0
	if _, err := bus.Subscribe("c", func(ports.Signal) { n++ }); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		_ = bus.Publish(b.Context(), "c", payload)
	}
}
