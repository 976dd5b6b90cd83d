package scripted

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// player writes one answer.
type player struct {
	w     http.ResponseWriter
	r     *http.Request
	d     dialect
	asked Request
	args  url.Values
	said  int // tokens
	goOn  <-chan struct{}
}

// play answers by a script such as stall?after=3.
func play(w http.ResponseWriter, r *http.Request, d dialect, asked Request, script string, goOn <-chan struct{}) {
	name, query, _ := strings.Cut(script, "?")
	args, err := url.ParseQuery(query)
	p := &player{w: w, r: r, d: d, asked: asked, args: args, goOn: goOn}
	if err != nil {
		p.refuse(http.StatusBadRequest, "invalid_request_error", "the script's arguments are no query")
		return
	}
	status, _ := strconv.Atoi(name)
	for _, s := range Scripts {
		if s.Name == name || s.Name == "STATUS" && status >= 300 && status <= 599 {
			p.perform(s, status)
			return
		}
	}
	p.refuse(http.StatusNotFound, "not_found_error", "there is no script of this name\n"+Help())
}

// perform plays a script that was found, unless its arguments are wrong.
func (p *player) perform(s Script, status int) {
	if err := complete(s, p.args); err != nil {
		p.refuse(http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	if status != 0 {
		p.status(status)
		return
	}
	s.play(p)
}

// complete adds what a script's arguments are when they are not given, and checks those that are.
func complete(s Script, args url.Values) error {
	known := map[string]bool{}
	for arg := range strings.FieldsSeq(s.Args) {
		name, otherwise, _ := strings.Cut(arg, "=")
		known[name] = true
		if !args.Has(name) {
			args.Set(name, otherwise)
		}
		if !isLike(otherwise, args.Get(name)) {
			return fmt.Errorf("%s of %s is something like %s", name, s.Name, otherwise)
		}
	}
	for name := range args {
		if !known[name] {
			return fmt.Errorf("%s takes no %s", s.Name, name)
		}
	}
	return nil
}

// isLike reports whether a value is a number or a duration when the other one is.
func isLike(other, value string) bool {
	if _, err := strconv.Atoi(other); err == nil {
		n, err := strconv.Atoi(value)
		return err == nil && n >= 0
	}
	if _, err := time.ParseDuration(other); err == nil {
		d, err := time.ParseDuration(value)
		return err == nil && d >= 0
	}
	return true
}

func (p *player) number(name string) int {
	n, _ := strconv.Atoi(p.args.Get(name))
	return n
}

func (p *player) duration(name string) time.Duration {
	d, _ := time.ParseDuration(p.args.Get(name))
	return d
}

// write sends at once. It reports whether somebody is still there.
func (p *player) write(s string) bool {
	if _, err := io.WriteString(p.w, s); err != nil {
		return false
	}
	return http.NewResponseController(p.w).Flush() == nil && p.r.Context().Err() == nil
}

// pause waits. It reports whether somebody is still there.
func (p *player) pause(d time.Duration) bool {
	if d == 0 {
		return p.r.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.r.Context().Done():
		return false
	}
}

// told waits for GoOn. It reports whether somebody is still there.
func (p *player) told() bool {
	select {
	case <-p.goOn:
		return true
	case <-p.r.Context().Done():
		return false
	}
}

// gone waits for the client to go.
func (p *player) gone() { <-p.r.Context().Done() }

func (p *player) open() {
	p.w.Header().Set("Content-Type", "text/event-stream")
	p.w.WriteHeader(http.StatusOK)
}

// begin sends the status and what comes before the first token.
func (p *player) begin() bool {
	p.open()
	return p.write(p.d.begin())
}

// token says some text.
func (p *player) token(text string) bool { return p.raw(quote(text)) }

// raw says a JSON string, which may be broken.
func (p *player) raw(quoted string) bool {
	p.said++
	return p.write(p.d.token(quoted))
}

// Words is what a script of n tokens says: "w1 w2 w3 ".
func Words(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(word(i + 1))
	}
	return b.String()
}

func word(i int) string { return "w" + strconv.Itoa(i) + " " }

// words says n tokens, an interval apart.
func (p *player) words(n int) bool { return p.wordsAfter(0, n) }

// wordsAfter says what follows the first tokens, until there are n.
func (p *player) wordsAfter(first, n int) bool {
	interval := p.duration("interval")
	for i := first; i < n; i++ {
		if i > 0 && !p.pause(interval) || !p.token(word(i+1)) {
			return false
		}
	}
	return true
}

// after says the tokens that come before what a script is about.
func (p *player) after() bool { return p.begin() && p.words(p.number("after")) }

// finish ends an answer as it should be.
func (p *player) finish(reason string) bool {
	return p.write(p.d.finish(reason, InputTokens, p.said)) && p.write(p.d.done())
}

// InputTokens is what every question costs.
const InputTokens = 7

// refuse answers with an error. It repeats the key, as real servers do with parts of it.
func (p *player) refuse(status int, kind, message string) {
	p.w.Header().Set("Content-Type", "application/json")
	p.w.WriteHeader(status)
	p.write(p.d.complaint(status, kind, message+" (called with "+p.asked.Key()+")"))
}

func (p *player) status(status int) {
	kind := map[int]string{401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}[status]
	if kind == "" {
		kind = "api_error"
	}
	if after := p.args.Get("retry_after"); after != "" {
		p.w.Header().Set("Retry-After", after)
	}
	p.refuse(status, kind, http.StatusText(status))
}
