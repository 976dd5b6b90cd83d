package sqlite_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// BenchmarkExpand makes 500 recipients in one step: users named who are new, users named who are known, members of a room of
// 10,000, members beside 1,000 who were named, and subscribers, told over sockets or by a job each. Step is what the writer is held up by, before the commit.
func BenchmarkExpand(b *testing.B) {
	const step = 500
	for _, of := range []string{"new users", "known users", "members", "members beside named", "subscribers", "endpoints"} {
		b.Run(of, func(b *testing.B) {
			s := withTenant(b)
			room := makeCrowd(b, s, 10_000)
			named := func(kind string, n int) (users []domain.UserID) {
				for i := range n {
					users = append(users, domain.UserID(fmt.Sprint(kind, " ", 100+i)))
				}
				return users
			}
			switch of {
			case "subscribers":
				subscribeMany(b, s, "", named("user", step))
			case "endpoints":
				subscribeMany(b, s, "https://a.example", named("user", step))
			}
			var steps []time.Duration
			i := 0
			for b.Loop() {
				targets := domain.Targets{Room: room}
				switch i++; of {
				case "new users":
					targets = domain.Targets{Users: named(fmt.Sprint("new ", i), step)}
				case "known users":
					targets = domain.Targets{Users: named("user", step)}
				case "members beside named":
					targets.Users = named("user", domain.MaxTargetUsers)
				case "subscribers", "endpoints":
					targets = domain.Targets{Subscribers: true}
				}
				steps = append(steps, expandAll(b, s, targets, step)...)
			}
			slices.Sort(steps)
			b.ReportMetric(steps[len(steps)/2].Seconds()*1000, "step-p50-ms")
			b.ReportMetric(steps[len(steps)*99/100].Seconds()*1000, "step-p99-ms")
			b.ReportMetric(float64(len(steps))/float64(i), "steps")
		})
	}
}

func subscribeMany(b *testing.B, s ports.Store, endpoint string, users []domain.UserID) {
	b.Helper()
	err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
		for _, user := range users {
			if _, _, err := tx.AddSubscription(newSubscription(user, endpoint)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// expandAll makes a notification and takes how long each full step has been in the writer's hands.
func expandAll(b *testing.B, s ports.Store, targets domain.Targets, limit int) (steps []time.Duration) {
	b.Helper()
	n := newNotification()
	for done, first := false, true; !done; first = false {
		err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
			started := time.Now()
			if first {
				if err := tx.AddNotification(n, targets); err != nil {
					return err
				}
			}
			step, err := tx.Expand(n.ID, limit)
			for _, to := range step.Endpoints {
				if err := tx.Enqueue(domain.NotificationJob(domain.JobID(uuid()), n, to)); err != nil {
					return err
				}
			}
			if done = step.Done; step.Recipients+len(step.Endpoints) > limit*9/10 {
				steps = append(steps, time.Since(started))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return steps
}

// BenchmarkSettleNotice acknowledges for 100 users in one write, as the devices of one flush do.
func BenchmarkSettleNotice(b *testing.B) {
	s := withTenant(b)
	room := makeCrowd(b, s, 10_000)
	var n domain.Notification
	left := 0
	var writes []time.Duration
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			n, left = newNotification(), 10_000
			err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
				e1 := tx.AddNotification(n, domain.Targets{Room: room})
				_, e2 := tx.Expand(n.ID, 20_000)
				return firstError(e1, e2)
			})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		started := time.Now()
		err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
			for i := left - 100; i < left; i++ {
				if _, err := tx.SettleNotice(domain.UserID(fmt.Sprint("user ", i)), n.ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		writes = append(writes, time.Since(started))
		left -= 100
	}
	slices.Sort(writes)
	b.ReportMetric(writes[len(writes)/2].Seconds()*1000, "write-p50-ms")
}

// BenchmarkMarks asks for 500 devices of one room of 10,000: with marks of their own, and without.
func BenchmarkMarks(b *testing.B) {
	for _, own := range []bool{true, false} {
		b.Run(fmt.Sprintf("own=%v", own), func(b *testing.B) {
			s := withTenant(b)
			room := makeCrowd(b, s, 10_000)
			devices := make([]ports.UserDevice, ports.MaxMarks)
			err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
				for i := range devices {
					devices[i] = ports.UserDevice{User: domain.UserID(fmt.Sprint("user ", 1+i*17)), Device: "phone"}
					device := devices[i].Device
					if !own {
						device = "laptop"
					}
					if _, err := tx.RaiseMark(room, devices[i].User, device, domain.Mark{DeliveredSeq: 1, DeliveredRev: 1}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				marks, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]ports.DeviceMark, error) {
					return r.Marks(room, devices)
				})
				if err != nil || len(marks) != len(devices) || !marks[499].OK {
					b.Fatalf("%d marks, %v", len(marks), err)
				}
			}
		})
	}
}
