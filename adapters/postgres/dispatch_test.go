package postgres_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
)

func TestEventsAreToldInTheOrderOfTickets(t *testing.T) {
	t.Parallel()
	var told []int64
	d := postgres.NewDispatcher(func(events []domain.Event) {
		for _, e := range events {
			told = append(told, e.Rev)
		}
	})
	first, second, third := d.Take(), d.Take(), d.Take()
	last := third([]domain.Event{{Rev: 3}})
	mid := second(nil) // its commit has failed
	select {
	case <-last:
		t.Error("the third was told before the first")
	case <-mid:
		t.Error("the second was passed over before the first")
	default:
	}
	<-first([]domain.Event{{Rev: 1}, {Rev: 2}})
	<-last
	d.Close()
	if want := []int64{1, 2, 3}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestManyTicketsAreToldInOrderByOneAtATime(t *testing.T) {
	t.Parallel()
	const n = 2000
	var told []int64 // written without a lock: the race detector finds two at once
	d := postgres.NewDispatcher(func(events []domain.Event) {
		for _, e := range events {
			told = append(told, e.Rev)
		}
	})
	var order sync.Mutex
	next := int64(0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range n / 8 {
				order.Lock()
				next++
				rev, resolve := next, d.Take()
				order.Unlock()
				<-resolve([]domain.Event{{Rev: rev}})
			}
		})
	}
	all.Wait()
	d.Close()
	if len(told) != n || !slices.IsSorted(told) {
		t.Errorf("%d events were told, in order: %t; want %d", len(told), slices.IsSorted(told), n)
	}
}
