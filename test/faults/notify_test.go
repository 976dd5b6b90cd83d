package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/workload"
)

// notified is one notification as the test has asked for it. Its number is in the payload.
type notified struct {
	number string
	large  bool
	id     string // of its answer; empty = the answer was lost
}

// told remembers who has been told what: number → recipient → id, and faults.
type told struct {
	mu     sync.Mutex
	ids    map[string]map[string]string
	faults []string
	again  int
}

// note takes one delivery: whoever gets a number gets it under the same id, however often.
func (d *told) note(number, recipient, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids[number] == nil {
		d.ids[number] = map[string]string{}
	}
	before, known := d.ids[number][recipient]
	switch {
	case known && before == id:
		d.again++
	case known:
		d.fault("%s was told of %s under %s and under %s", recipient, number, before, id)
	}
	d.ids[number][recipient] = id
}

// fault is called with mu held.
func (d *told) fault(format string, args ...any) {
	const enough = 20
	if len(d.faults) < enough {
		d.faults = append(d.faults, fmt.Sprintf(format, args...))
	}
}

// missing are those of the recipients who have not been told of a number.
func (d *told) missing(number string, recipients []string) (who []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range recipients {
		if d.ids[number][r] == "" {
			who = append(who, r)
		}
	}
	return who
}

// everybody are all who have been told of a number, and under which ids.
func (d *told) everybody(number string) (recipients int, ids map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids = map[string]bool{}
	for _, id := range d.ids[number] {
		ids[id] = true
	}
	return len(d.ids[number]), ids
}

// notice is a notification as sockets and endpoints show it.
type notice struct {
	Type    string  `json:"type"`
	ID      string  `json:"notification_id"`
	Topic   string  `json:"topic"`
	UserID  *string `json:"user_id"`
	Payload struct {
		Number string `json:"number"`
	} `json:"payload"`
}

const noticeTopic = "orders"

// endpoint is where subscriptions are told: /fay for the user fay, /backend for the tenant's backend itself. The id that
// must stay is that of the call.
func endpoint(t *testing.T, d *told, secret string) *httptest.Server {
	t.Helper()
	verify := harness.Must(webhooks.NewWebhookRaw([]byte(secret)))(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the server was killed in the middle
		}
		var n notice
		err = errors.Join(verify.Verify(body, r.Header), json.Unmarshal(body, &n))
		who := "/backend"
		if n.UserID != nil {
			who = "/" + *n.UserID
		}
		if err != nil || n.Type != "notification" || n.Topic != noticeTopic || r.URL.Path != who {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.fault("a call to %s that is not understood: %v %s", r.URL.Path, err, body)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		<-time.After(rand.N(10 * time.Millisecond)) // so that calls are under way when the server is killed
		d.note(n.Payload.Number, who, n.ID)
		d.note("call of "+n.Payload.Number, who, r.Header.Get("webhook-id"))
	}))
	t.Cleanup(s.Close)
	return s
}

// listen connects a user and notes every notification that comes.
func (d *told) listen(u *harness.User, query url.Values) (*harness.Conn, error) {
	return u.DialWith(harness.DialOptions{
		Query: query,
		Keep:  func(f harness.Frame) bool { return f.Type == "sync.complete" },
		OnFrame: func(f harness.Frame) {
			var n notice
			if f.Type == "notification" && json.Unmarshal(f.Raw, &n) == nil {
				d.note(n.Payload.Number, u.ID, n.ID)
			}
		},
	})
}

// notifier makes notifications one after another. Every other one is asked for until there is an answer, with an
// Idempotency-Key; the rest are asked for once, and what has become of them without an answer is not known.
type notifier struct {
	name    string
	backend *harness.Client
	small   map[string]any // targets
	large   map[string]any
	made    []notified
}

func (n *notifier) run(ctx context.Context) error {
	const oneIsLarge = 4
	for i := 0; ctx.Err() == nil; i++ {
		one := notified{number: fmt.Sprintf("%s.%d", n.name, i), large: i%oneIsLarge == 0}
		if err := n.notify(&one, i%2 == 0); err != nil {
			return err
		}
		n.made = append(n.made, one)
		<-time.After(rand.N(60 * time.Millisecond))
	}
	return nil
}

func (n *notifier) notify(one *notified, insist bool) error {
	targets := n.small
	if one.large {
		targets = n.large
	}
	payload := harness.Payload("%s", one.number)
	payload["number"] = one.number
	body := map[string]any{"topic": noticeTopic, "payload": payload, "targets": targets}
	client := n.backend
	if insist {
		client = client.With("Idempotency-Key", "key-"+one.number)
	}
	return harness.Until(60*time.Second, "an answer for "+one.number, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), workload.AttemptTimeout)
		defer cancel()
		res, err := client.Do(ctx, http.MethodPost, "/notify", body)
		if err == nil && res.Status == http.StatusAccepted {
			var made notice
			if res.Decode(&made) == nil {
				one.id = made.ID
			}
		}
		return one.id != "" || !insist
	})
}

// TestEveryNotificationSurvivesTwentyKills: those answered 202 reach each recipient, those whose answer was lost all of
// them or none; the ids of notifications and calls stay, whatever is sent again.
func TestEveryNotificationSurvivesTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, notifiers, crowdSize = 20, 3, 1000 // the crowd takes the server more than one write
	secret, heard := harness.Body("secret of the endpoints"), &told{ids: map[string]map[string]string{}}
	receiver := endpoint(t, heard, secret)
	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "webhook=127.0.0.1", "RETRY_INTERVAL": "1s"}})
	tenant := harness.Must(s.NewTenantWith("notify", map[string]any{"rate_limit": 0, "webhook_secret": secret}))(t)
	backend := tenant.Backend()
	room := harness.Must(tenant.User("cat").CreateRoom("group", "ann", "dan"))(t).RoomID
	for _, subscription := range []map[string]any{
		{"topic": noticeTopic, "user_id": "eve"},
		{"topic": noticeTopic, "user_id": "fay", "endpoint": receiver.URL + "/fay"},
		{"topic": noticeTopic, "endpoint": receiver.URL + "/backend"},
	} {
		harness.Must(backend.Call(http.MethodPost, "/subscriptions", subscription, http.StatusCreated, nil))(t)
	}
	crowd := make([]string, crowdSize)
	for i := range crowd {
		crowd[i] = fmt.Sprintf("crowd%d", i)
	}
	small := map[string]any{"user_ids": []string{"ann", "bob"}, "room_id": room, "topic_subscribers": true}
	large := map[string]any{"user_ids": crowd, "room_id": room, "topic_subscribers": true}
	everywhere := []string{"ann", "cat", "dan", "eve", "/fay", "/backend"} // in both

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	all, ended := make([]*notifier, notifiers), make(chan error, notifiers)
	for i := range all {
		all[i] = &notifier{name: fmt.Sprint(i), backend: backend, small: small, large: large}
		go func() { ended <- all[i].run(ctx) }()
	}
	for range kills {
		dan, err := heard.listen(tenant.User("dan"), nil) // who is connected when it happens
		harness.Check(t, err)
		<-time.After(100*time.Millisecond + rand.N(700*time.Millisecond))
		harness.Check(t, s.Kill())
		dan.Drop()
		harness.Check(t, s.Start())
	}
	stop()
	for range all {
		harness.Check(t, <-ended)
	}
	for _, id := range append([]string{"ann", "bob", "cat", "dan", "eve"}, crowd...) {
		c, err := heard.listen(tenant.User(id), url.Values{"ack": {"auto"}})
		harness.Check(t, err)
		t.Cleanup(c.Drop)
		harness.Must(c.AwaitType("sync.complete"))(t)
	}
	judgeNotified(t, heard, all, append([]string{"bob"}, everywhere...), append(crowd, everywhere...))
}

// judgeNotified waits for everything that is owed, also for what the server takes up half a minute after it was left
// behind, and holds the whole against the promises.
func judgeNotified(t *testing.T, heard *told, all []*notifier, small, large []string) {
	t.Helper()
	const patience = 100 * time.Second
	answered, unknown, arrived := 0, 0, 0
	for _, n := range all {
		for _, one := range n.made {
			recipients := small
			if one.large {
				recipients = large
			}
			if one.id == "" {
				unknown++
				if got, _ := heard.everybody(one.number); got == 0 {
					continue
				}
				arrived++
			} else {
				answered++
			}
			if err := harness.Until(patience, one.number, func() bool { return len(heard.missing(one.number, recipients)) == 0 }); err != nil {
				missing := heard.missing(one.number, recipients)
				t.Fatalf("%s (answered: %t) has not reached %d of %d: %.200s", one.number, one.id != "", len(missing), len(recipients), missing)
			}
			count, ids := heard.everybody(one.number)
			if count != len(recipients) || len(ids) != 1 || one.id != "" && !ids[one.id] {
				t.Errorf("%s reached %d recipients under %v, want %d under %s", one.number, count, ids, len(recipients), one.id)
			}
		}
	}
	heard.mu.Lock()
	defer heard.mu.Unlock()
	for _, fault := range heard.faults {
		t.Error(fault)
	}
	t.Logf("%d notifications were answered; of %d without an answer %d had been made; %d deliveries came again", answered, unknown, arrived, heard.again)
	if answered < 20*len(all) || heard.again == 0 {
		t.Errorf("too little happened: %d answered, %d came again", answered, heard.again)
	}
}
