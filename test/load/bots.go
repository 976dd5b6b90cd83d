package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// bots is what a bot's answer takes beside its model: one after another, in 50 and in 200 rooms at once, 200 answers each,
// and in a room of 100 sockets.
func (b *bench) bots() error {
	const answers = 200
	for _, c := range []botCase{
		{rooms: 1, times: answers, sockets: 1, tokens: 10, interval: 10 * time.Millisecond},
		{rooms: 50, times: answers / 50, sockets: 1, tokens: 50, interval: 40 * time.Millisecond},
		{rooms: 200, times: answers / 200, sockets: 1, tokens: 50, interval: 40 * time.Millisecond},
		{rooms: 1, times: 10, sockets: 100, tokens: 50, interval: 40 * time.Millisecond},
	} {
		if err := b.speak(c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

// botCase is so many rooms that a bot answers in at once, so many times each.
type botCase struct {
	rooms, times int
	sockets      int // of each room
	tokens       int // of each answer
	interval     time.Duration
}

func (c botCase) String() string {
	if c.sockets > 1 {
		return fmt.Sprintf("bots, a room of %d sockets", c.sockets)
	}
	return fmt.Sprintf("bots, %d at once", c.rooms)
}

func (b *bench) speak(c botCase) error {
	model, err := newTimedModel(c.rooms)
	if err != nil {
		return err
	}
	defer model.Close()
	opts := harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1"}}
	return b.withOptions(opts, func(tenant *harness.Tenant) error {
		rooms, err := botRooms(tenant.Server(), model, c)
		defer func() {
			for _, r := range rooms {
				closeAll(r.sockets)
			}
		}()
		if err != nil {
			return err
		}
		return b.measureBots(tenant.Server(), c, rooms)
	})
}

// measureBots has the bots answer, after one answer that does not count.
func (b *bench) measureBots(s *harness.Server, c botCase, rooms []*botRoom) error {
	if err := converse(rooms, 1); err != nil {
		return err
	}
	toModel, toSocket, frames := newLatencies(), newLatencies(), int64(0)
	for i, r := range rooms {
		r.measure(i, toModel, toSocket)
	}
	cpuBefore, err := s.CPU()
	if err != nil {
		return err
	}
	profile := make(chan error, 1)
	go func() { profile <- b.profileFor(s, b.window) }()
	if err := converse(rooms, c.times); err != nil {
		return errors.Join(err, <-profile)
	}
	cpu, err := s.CPU()
	for _, r := range rooms {
		frames += r.deltas.Load()
	}
	answers := float64(c.rooms * c.times)
	said := answers * float64(c.tokens)
	b.report.latency(c.String()+", question to model", toModel.total(), 0, 0)
	b.report.latency(c.String()+", model to first delta", toSocket.total(), 0, 0)
	b.report.low(c.String(), "CPU", (cpu-cpuBefore).Seconds()/said*1000, "s/1k deltas of the model", 0)
	b.report.low(c.String(), "CPU, its beginning and end included", (cpu-cpuBefore).Seconds()/answers*1000, "ms/answer", 0)
	if c.sockets > 1 {
		b.report.low(c.String(), "CPU", (cpu-cpuBefore).Seconds()/float64(frames)*1e6, "µs/delta frame", 0)
	}
	b.report.high(c.String(), "delta frames of a socket", 100*float64(frames)/float64(c.sockets)/said, "% of the model's", 0)
	return errors.Join(err, <-profile)
}

// converse asks so many times in each room, each time when the answer before has ended.
func converse(rooms []*botRoom, times int) error {
	errs := make([]error, len(rooms))
	var talking sync.WaitGroup
	for i, r := range rooms {
		talking.Go(func() { errs[i] = r.ask(times) })
	}
	talking.Wait()
	return some(errs)
}

// botRoom is a room in which the first socket asks a bot.
type botRoom struct {
	id      string
	model   *modelTimes
	sockets []*socket
	ended   chan error // an answer has, for a socket
	deltas  atomic.Int64
	timing  atomic.Pointer[botTiming]
}

// botTiming is where the times of a room's answers go.
type botTiming struct {
	who               int
	toModel, toSocket *latencies
}

var (
	isStreamStart = []byte(`{"type":"message.stream.start",`)
	isStreamDelta = []byte(`{"type":"message.stream.delta",`)
	isStreamEnd   = []byte(`{"type":"message.stream.end",`)
	isStreamError = []byte(`{"type":"message.stream.error",`)
)

// measure has the times taken from here on.
func (r *botRoom) measure(who int, toModel, toSocket *latencies) {
	r.deltas.Store(0)
	r.timing.Store(&botTiming{who, toModel, toSocket})
}

func (r *botRoom) ask(times int) error {
	const patience, pause = time.Minute, 100 * time.Millisecond // who answers at once finds the workers still busy with the end
	frame, _ := sendFrame(r.id)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for range times {
		<-time.After(pause)
		at := time.Now()
		if _, err := r.sockets[0].conn.Write(frame); err != nil {
			return err
		}
		timeout.Reset(patience)
		for range r.sockets {
			select {
			case err := <-r.ended:
				if err != nil {
					return err
				}
			case <-timeout.C:
				return errors.New("an answer has not ended")
			}
		}
		if t := r.timing.Load(); t != nil {
			t.toModel.add(t.who, r.model.asked.Load().Sub(at))
		}
	}
	return nil
}

// follow takes the time of the first delta of each answer that a socket gets.
func (r *botRoom) follow(s *socket) {
	begun := false
	s.follow(func(p []byte) {
		switch {
		case bytes.HasPrefix(p, isStreamDelta):
			r.deltas.Add(1)
			if t := r.timing.Load(); begun && t != nil {
				t.toSocket.add(t.who, time.Since(*r.model.wrote.Load()))
			}
			begun = false
		case bytes.HasPrefix(p, isStreamStart):
			begun = true
		case bytes.HasPrefix(p, isStreamEnd):
			r.ended <- nil
		case bytes.HasPrefix(p, isStreamError), bytes.HasPrefix(p, isError):
			r.ended <- fmt.Errorf("%s", p)
		}
	})
}

// botRooms makes the rooms, each with a bot, and opens their sockets. A tenant has as many as it may have answers at a time.
func botRooms(s *harness.Server, model *timedModel, c botCase) (rooms []*botRoom, err error) {
	const perTenant, repliesPerMinute = 8, 600
	var tenant *harness.Tenant
	for n := range c.rooms {
		if n%perTenant == 0 {
			limits := map[string]any{"replies_per_minute": repliesPerMinute}
			if tenant, err = s.NewTenantWith("bots", map[string]any{"rate_limit": 0, "bot_limits": limits}); err != nil {
				return rooms, err
			}
		}
		var bot struct {
			ID string `json:"bot_id"`
		}
		body := map[string]any{
			"name": "Bot", "llm_base_url": fmt.Sprintf("%s/%d", model.URL, n),
			"model": fmt.Sprintf("answer?tokens=%d&interval=%s", c.tokens, c.interval), "system_prompt": harness.Body("You are a bot."),
		}
		if _, err := tenant.Backend().Call(http.MethodPost, "/bots", body, http.StatusCreated, &bot); err != nil {
			return rooms, err
		}
		users := []string{bot.ID}
		for i := range c.sockets {
			users = append(users, member(n*c.sockets+i))
		}
		room, err := tenant.Backend().CreateRoom("group", users[1])
		if err == nil {
			err = tenant.Backend().AddMembers(room.RoomID, users...)
		}
		if err != nil {
			return rooms, err
		}
		r := &botRoom{id: room.RoomID, model: &model.rooms[n], ended: make(chan error, c.sockets)}
		rooms = append(rooms, r)
		r.sockets, err = dialAllWith(tenant, c.sockets, "&ack=auto", func(i int) string { return users[1+i] })
		if err != nil {
			return rooms, err
		}
		for _, socket := range r.sockets {
			r.follow(socket)
		}
	}
	return rooms, nil
}

// timedModel is a scripted model that notes when it was asked and when it answered, by the number of a room at the start of
// the path.
type timedModel struct {
	*httptest.Server
	scripted *scripted.Server
	rooms    []modelTimes
}

// modelTimes are those of a room's latest answer.
type modelTimes struct{ asked, wrote atomic.Pointer[time.Time] }

func newTimedModel(rooms int) (*timedModel, error) {
	player, err := scripted.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &timedModel{scripted: player, rooms: make([]modelTimes, rooms)}
	m.Server = httptest.NewServer(m)
	return m, nil
}

// Close ends the model.
func (m *timedModel) Close() {
	m.Server.Close()
	m.scripted.Close()
}

// ServeHTTP implements http.Handler.
func (m *timedModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	number, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	n, err := strconv.Atoi(number)
	if err != nil || n >= len(m.rooms) {
		http.NotFound(w, r)
		return
	}
	m.rooms[n].asked.Store(&at)
	m.scripted.ServeHTTP(&firstWrite{ResponseWriter: w, at: &m.rooms[n].wrote}, r)
}

// firstWrite notes when an answer begins.
type firstWrite struct {
	http.ResponseWriter
	at    *atomic.Pointer[time.Time]
	begun bool
}

// Write implements io.Writer.
func (w *firstWrite) Write(p []byte) (int, error) {
	if !w.begun {
		at := time.Now()
		w.at.Store(&at)
		w.begun = true
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *firstWrite) Unwrap() http.ResponseWriter { return w.ResponseWriter }
