package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// scribe plays a conversation and writes down, for each client, what it was answered and what its sockets were sent. The first
// scribe waits after each step until nothing more comes; those after it wait until as much has come.
type scribe struct {
	t         *testing.T
	server    *harness.Server
	tenant    *harness.Tenant
	model     *scripted.Server
	reference *scribe // nil: this is it

	raw     map[string][]line
	lines   map[string][]string // the same as it compares
	ids     map[string]string   // what the script calls them, by id
	sockets map[string]*socket
	steps   int
	heard   map[string][]int // by socket: how many frames after each step
}

// line is an answer, or a frame.
type line struct {
	prefix string
	body   []byte
}

// socket is one of a client's, with the places it has in its rooms.
type socket struct {
	conn  *harness.Conn
	past  []harness.Frame // of the connections before
	away  bool            // there is none now
	epoch string
}

// The waits of the first scribe: what one node causes has come by then; what is told once a second needs longer.
const (
	quiet = 200 * time.Millisecond
	lull  = 1500 * time.Millisecond
)

// record plays the conversation on a topology.
func record(t *testing.T, topology harness.Topology, reference *scribe) *scribe {
	t.Helper()
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	s := harness.Start(t, harness.Options{Topology: topology, Env: map[string]string{
		"OUTBOUND_ALLOW": "llm=127.0.0.1", "RETRY_INTERVAL": "10m", // nothing is sent again because somebody is slow
	}})
	r := &scribe{
		t: t, server: s, tenant: harness.Must(s.NewTenant("story"))(t), model: model, reference: reference,
		raw: map[string][]line{}, lines: map[string][]string{}, ids: map[string]string{}, sockets: map[string]*socket{}, heard: map[string][]int{},
	}
	r.ids[strings.TrimPrefix(model.URL, "http://")] = "<model>"
	r.play(t)
	<-time.After(lull) // what should not come any more
	for name, sock := range r.sockets {
		sock.keep()
		sock.conn.Drop()
		r.write(name, sock.past)
	}
	for client, lines := range r.raw {
		r.lines[client] = r.normal(lines)
	}
	return r
}

func (r *scribe) clients() []string { return slices.Sorted(maps.Keys(r.lines)) }

// named is the id that the script gave a name.
func (r *scribe) named(name string) string {
	for id, n := range r.ids {
		if n == "<"+name+">" {
			return id
		}
	}
	r.t.Fatalf("nothing is named %s", name)
	return ""
}

func (s *socket) keep() { s.past = append(s.past, s.conn.Frames()...) }

// told is how many frames have come that a step waits for: of an answer in parts its ends alone, as the parts may be cut in
// many ways.
func (s *socket) told() (n int) {
	for _, f := range s.unasked() {
		if f.Type != "message.stream.delta" {
			n++
		}
	}
	return n
}

// unasked is all that has come but replies.
func (s *socket) unasked() []harness.Frame {
	all := append(slices.Clone(s.past), s.conn.Frames()...)
	return slices.DeleteFunc(all, func(f harness.Frame) bool { return f.RequestID != "" })
}

// settle ends a step.
func (r *scribe) settle(wait time.Duration) {
	r.t.Helper()
	r.steps++
	if r.reference == nil {
		r.untilQuiet(wait)
		for name, s := range r.sockets {
			r.heard[name] = append(r.heard[name], s.told())
		}
		return
	}
	for name, s := range r.sockets {
		history := r.reference.heard[name]
		want := history[len(history)-(r.reference.steps-r.steps)-1]
		if err := harness.Until(20*time.Second, "frames", func() bool { return s.told() >= want }); err != nil {
			r.t.Errorf("after step %d %s was sent %d frames, want %d; the latest is %s", r.steps, name, s.told(), want, s.latest())
		}
	}
}

func (s *socket) latest() []byte {
	if frames := s.conn.Frames(); len(frames) > 0 {
		return frames[len(frames)-1].Raw
	}
	return nil
}

// untilQuiet waits until no socket has been sent anything for a while, in which the server was at work: one that stood still
// answers no ping.
func (r *scribe) untilQuiet(wait time.Duration) {
	r.t.Helper()
	count := func() (n int) {
		for _, s := range r.sockets {
			n += len(s.unasked())
		}
		return n
	}
	for last := -1; last != count(); {
		last = count()
		<-time.After(wait)
		for name, s := range r.sockets {
			if s.away {
				continue
			}
			if _, err := s.conn.Request(map[string]any{"type": "ping"}); err != nil {
				r.t.Fatalf("%s does not answer: %v", name, err)
			}
		}
	}
}

// voice is a client of the conversation.
type voice struct {
	*scribe
	name   string
	client *harness.Client
	user   *harness.User
}

func (r *scribe) as(name string) *voice {
	switch name {
	case "nobody":
		return &voice{scribe: r, name: name, client: r.server.Anonymous()}
	case "backend":
		return &voice{scribe: r, name: name, client: r.tenant.Backend()}
	}
	u := r.tenant.User(name)
	return &voice{scribe: r, name: name, client: u.Client, user: u}
}

func (v *voice) with(header, value string) *voice {
	more := *v
	more.client = v.client.With(header, value)
	return &more
}

// said is an answer over REST.
type said struct {
	v   *voice
	res *harness.Response
}

// id takes an id out of an answer and gives it a name.
func (s said) id(field, name string) string {
	s.v.t.Helper()
	var body map[string]any
	harness.Check(s.v.t, s.res.Decode(&body))
	id, is := body[field].(string)
	if !is {
		s.v.t.Fatalf("no %s in %d %s", field, s.res.Status, s.res.Body)
	}
	s.v.ids[id] = "<" + name + ">"
	return id
}

func (v *voice) get(path string) said         { return v.call(http.MethodGet, path, "", quiet) }
func (v *voice) del(path string) said         { return v.call(http.MethodDelete, path, "", quiet) }
func (v *voice) put(path, body string) said   { return v.call(http.MethodPut, path, body, quiet) }
func (v *voice) patch(path, body string) said { return v.call(http.MethodPatch, path, body, quiet) }

func (v *voice) post(path, body string) said {
	if strings.HasSuffix(path, "/read") || path == "/acks" {
		return v.call(http.MethodPost, path, body, lull)
	}
	return v.call(http.MethodPost, path, body, quiet)
}

func (v *voice) call(method, path, body string, wait time.Duration) said {
	v.t.Helper()
	var sent any
	if body != "" {
		sent = body
	}
	res := harness.Must(v.client.Do(v.t.Context(), method, path, sent))(v.t)
	prefix := fmt.Sprintf("%s %s: %d", method, path, res.Status)
	for _, name := range []string{"Idempotency-Replayed", "Location", "Link", "Allow"} {
		if value := res.Header.Get(name); value != "" {
			prefix += fmt.Sprintf(" %s=%s", name, value)
		}
	}
	v.raw[v.name] = append(v.raw[v.name], line{prefix, res.Body})
	if method != http.MethodGet {
		v.settle(wait)
	}
	return said{v, res}
}

func (v *voice) at(name string) *socket { return v.sockets[v.name+"'s "+name] }

// socket opens a socket of a device.
func (v *voice) socket(name string) {
	v.t.Helper()
	v.open(name, harness.DialOptions{Query: url.Values{"device_id": {name}}}, nil)
}

func (v *voice) open(name string, opts harness.DialOptions, first map[string]any) {
	v.t.Helper()
	conn := harness.Must(v.user.DialWith(opts))(v.t)
	v.t.Cleanup(conn.Drop)
	if first != nil {
		harness.Check(v.t, conn.Write(first))
	}
	harness.Must(conn.AwaitType("sync.complete"))(v.t)
	s := v.at(name)
	if s == nil {
		s = &socket{}
		v.sockets[v.name+"'s "+name] = s
		if v.reference == nil { // it has heard nothing before
			v.heard[v.name+"'s "+name] = nil
		}
	}
	s.conn, s.away = conn, false
	for _, f := range conn.Frames() {
		if f.Type == "connected" {
			s.epoch = f.Epoch
		}
	}
	v.settle(quiet)
}

// drop cuts a socket off.
func (v *voice) drop(name string) {
	s := v.at(name)
	s.conn.Drop()
	s.keep()
	s.conn, s.away = &harness.Conn{}, true
	v.settle(quiet)
}

// resume comes back with the position of each room.
func (v *voice) resume(name string) {
	v.t.Helper()
	s := v.at(name)
	places := map[string]int64{}
	for _, f := range s.past {
		if f.RoomID != "" {
			places[f.RoomID] = max(places[f.RoomID], f.Rev)
		}
	}
	rooms := []map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(places)) {
		rooms = append(rooms, map[string]any{"room_id": id, "rev": places[id]})
	}
	query := url.Values{"device_id": {name}, "resume": {"1"}}
	v.open(name, harness.DialOptions{Query: query}, map[string]any{"type": "resume", "epoch": s.epoch, "rooms": rooms})
}

// send makes a request on a socket and writes down its answer, beside what the socket is sent.
func (v *voice) send(name string, frame map[string]any) {
	v.t.Helper()
	answer := harness.Must(v.at(name).conn.Request(frame))(v.t)
	v.raw[v.name] = append(v.raw[v.name], line{fmt.Sprint(frame["type"]), answer.Raw})
	switch frame["type"] {
	case "ack", "notification.ack", "read": // they are durable, and told, within a second
		<-time.After(lull)
	}
	v.settle(quiet)
}

// write sends a frame that has no answer.
func (v *voice) write(name string, frame map[string]any) {
	v.t.Helper()
	harness.Check(v.t, v.at(name).conn.Write(frame))
	v.settle(quiet)
}

func (v *voice) subscribe(name, room string, after int64) {
	v.t.Helper()
	v.send(name, map[string]any{"type": "subscribe", "room_id": room, "after_seq": after})
}

// confirm acknowledges the latest notification.
func (v *voice) confirm(name string) {
	v.t.Helper()
	var id string
	for _, f := range v.at(name).conn.Frames() {
		if f.Type == "notification" {
			id = f.NotificationID
		}
	}
	v.send(name, map[string]any{"type": "notification.ack", "notification_id": id})
}

// ticketed opens a socket by a ticket.
func (v *voice) ticketed(name string) {
	v.t.Helper()
	ticket := harness.Must(v.server.Ticket(v.client))(v.t)
	anyone := &voice{scribe: v.scribe, name: v.name, client: v.client, user: &harness.User{Client: v.server.Anonymous(), ID: v.name}}
	anyone.open(name, harness.DialOptions{Query: url.Values{"token": {ticket}}}, nil)
	v.ids[ticket] = "<used ticket>"
}

// ticketTwice shows a ticket again that was used up.
func (v *voice) ticketTwice() {
	v.t.Helper()
	_, err := harness.Dial(v.server.Base, harness.DialOptions{Query: url.Values{"token": {v.named("used ticket")}}})
	refused, is := err.(*harness.HandshakeError)
	if !is {
		v.t.Fatalf("a ticket that was used up: %v", err)
	}
	v.raw[v.name] = append(v.raw[v.name], line{fmt.Sprintf("a used ticket: %d", refused.Status), refused.Body})
}

// asks sends a message that a bot answers.
func (v *voice) asks(path, content string) {
	v.t.Helper()
	v.call(http.MethodPost, path, fmt.Sprintf(`{"content":%q}`, content), lull)
}

// write writes down what a socket was sent. The parts of an answer become one; replies stand elsewhere.
func (r *scribe) write(name string, frames []harness.Frame) {
	var parts strings.Builder
	for _, f := range frames {
		switch {
		case f.RequestID != "":
			continue
		case f.Type == "message.stream.start": // who is late is shown the beginning of the text here
			parts.Reset()
			parts.WriteString(f.Content)
			r.raw[name] = append(r.raw[name], line{"frame", blank(f.Raw, "content")})
			continue
		case f.Type == "message.stream.delta":
			var part struct{ Delta string }
			harness.Check(r.t, json.Unmarshal(f.Raw, &part))
			parts.WriteString(part.Delta)
			continue
		case f.Type == "message.stream.end" || f.Type == "message.stream.error":
			r.raw[name] = append(r.raw[name], line{"in parts: " + parts.String(), nil})
		}
		r.raw[name] = append(r.raw[name], line{"frame", f.Raw})
	}
}

// blank takes a field out of a document.
func blank(raw []byte, field string) []byte {
	var doc map[string]any
	if json.Unmarshal(raw, &doc) != nil {
		return raw
	}
	delete(doc, field)
	out, err := json.Marshal(doc)
	if err != nil {
		return raw
	}
	return out
}

var (
	anID    = regexp.MustCompile(`\b([a-z]+)_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	aTime   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	aSecret = regexp.MustCompile(`\b(sk|wst|whsec)_[A-Za-z0-9_-]+`)
)

// unlike are fields that differ between any two servers, or two moments.
var unlike = []string{"epoch", "cursor", "connection_id", "request_id", "reconnect_after_ms"}

// normal makes lines comparable: ids become the names that the script gave them, or numbers in the order of a client's sight.
func (r *scribe) normal(lines []line) (out []string) {
	seen := map[string]string{}
	text := func(s string) string {
		for id, name := range r.ids {
			s = strings.ReplaceAll(s, id, name)
		}
		s = anID.ReplaceAllStringFunc(s, func(id string) string {
			if seen[id] == "" {
				prefix, _, _ := strings.Cut(id, "_")
				seen[id] = fmt.Sprintf("<%s %d>", prefix, len(seen)+1)
			}
			return seen[id]
		})
		return aSecret.ReplaceAllString(aTime.ReplaceAllString(s, "<time>"), "<secret>")
	}
	for _, l := range lines {
		body := string(l.body)
		var doc any
		if json.Unmarshal(l.body, &doc) == nil {
			alike(doc)
			if encoded, err := json.Marshal(doc); err == nil {
				body = string(encoded)
			}
		}
		out = append(out, text(l.prefix+" "+body))
	}
	return out
}

// alike takes out what differs anyhow.
func alike(doc any) {
	switch d := doc.(type) {
	case map[string]any:
		for name, value := range d {
			if slices.Contains(unlike, name) {
				d[name] = "*"
				continue
			}
			alike(value)
		}
	case []any:
		for _, value := range d {
			alike(value)
		}
	}
}
