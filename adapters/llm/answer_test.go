package llm_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/model/scripted"
)

var (
	malformed = ports.ModelError{Code: domain.StreamRefused, Status: 200, Cause: ports.CauseResponse}
	cutOff    = ports.ModelError{Code: domain.StreamInterrupted, Status: 200, Cause: ports.CauseUnreachable, Retryable: true}
)

// told is an error that came with or within an answer of a status.
func told(code domain.StreamCode, status, as int, retry bool) ports.ModelError {
	return ports.ModelError{Code: code, Status: status, Cause: ports.StatusCause(as), Retryable: retry}
}

func TestEveryKindOfAnswerHasItsEnd(t *testing.T) {
	t.Parallel()
	f := onTCP(t)
	cost := func(out int64) ports.TokenUsage { return ports.TokenUsage{Input: scripted.InputTokens, Output: out} }
	limited := told(domain.StreamRateLimited, 429, 429, true)
	limited.RetryAfter = 7 * time.Second
	words := scripted.Words
	for script, want := range map[string]heard{
		"answer":                   {Text: words(8), Finish: "stop", Usage: cost(8)},
		"answer?tokens=500":        {Text: words(500), Finish: "stop", Usage: cost(500)},
		"answer?text=a+%22b%22%0A": {Text: "a \"b\"\n", Finish: "stop", Usage: cost(2)},
		"echo":                     {Text: "Hello", Finish: "stop", Usage: cost(1)},
		"long":                     {Text: words(8), Finish: "length", Usage: cost(8)},
		"filtered":                 {Text: words(8), Finish: "stop", Usage: cost(8)},
		"tool":                     {Text: words(8), Finish: "stop", Usage: cost(8)},
		"thinking":                 {Text: words(8), Finish: "stop", Usage: cost(8)},
		"empty":                    {Finish: "stop", Usage: cost(0)},
		"split-utf8":               {Text: scripted.SplitText, Finish: "stop", Usage: cost(7)},
		"invalid-utf8":             {Text: scripted.InvalidText, Finish: "stop", Usage: cost(4)},
		"no-done":                  {Text: words(8), Finish: "stop", Usage: cost(8)},
		"malformed":                {Text: words(3), Err: malformed},
		"malformed?after=0":        {Err: malformed},
		"cut":                      {Text: words(3), Err: cutOff},
		"cut-line":                 {Text: words(3), Err: cutOff},
		"cut?clean=true":           {Text: words(3), Err: cutOff},
		"cut?after=0":              {Err: cutOff},
		"huge":                     {Text: words(3), Err: ports.ModelError{Code: domain.StreamRefused, Status: 200, Cause: ports.CauseTooLarge}},
		"json":                     {Err: malformed},
		"page":                     {Err: malformed},

		"error":                               {Text: words(3), Err: told(domain.StreamRefused, 200, 529, true)},
		"error?type=rate_limit_error&after=0": {Err: told(domain.StreamRateLimited, 200, 429, true)},
		"error?type=invalid_request_error":    {Text: words(3), Err: malformed},

		"302":               {Err: told(domain.StreamRefused, 302, 302, false)},
		"400":               {Err: told(domain.StreamRefused, 400, 400, false)},
		"401":               {Err: told(domain.StreamRefused, 401, 401, false)},
		"404":               {Err: told(domain.StreamRefused, 404, 404, false)},
		"429?retry_after=7": {Err: limited},
		"500":               {Err: told(domain.StreamRefused, 500, 500, true)},
		"529":               {Err: told(domain.StreamRefused, 529, 529, true)},
	} {
		for _, p := range providers {
			got := listen(t, t.Context(), f, f.question(p, script))
			if want := want; p == domain.ProviderAnthropic && want.Err != (ports.ModelError{}) && got.Usage.Input != 0 {
				want.Usage = ports.TokenUsage{Input: scripted.InputTokens, Output: 1} // told before the first token
				wantHeard(t, fmt.Sprintf("%s, %s", script, p), got, want)
				continue
			}
			wantHeard(t, fmt.Sprintf("%s, %s", script, p), got, want)
		}
	}
	got := listen(t, t.Context(), f, f.question(domain.ProviderOpenAI, "no-finish"))
	wantHeard(t, "no-finish", got, heard{Text: words(8), Finish: "stop"})
}

func TestPiecesComeAsTheyAreSaid(t *testing.T) {
	t.Parallel()
	for _, p := range providers {
		synctest.Test(t, func(t *testing.T) {
			f := onPipes(t)
			defer f.close(t)
			begun, n := time.Now(), 0
			for piece, err := range f.Answer(t.Context(), f.question(p, "answer?tokens=20&interval=3s")) {
				if err != nil {
					t.Fatal(err)
				}
				if piece.Finish != "" {
					continue
				}
				if took := time.Since(begun); took != time.Duration(n)*3*time.Second {
					t.Errorf("%s: piece %d after %s", p, n, took)
				}
				n++
			}
			if n != 20 {
				t.Errorf("%s: %d pieces, want 20", p, n)
			}
		})
	}
}

func TestASilentModelIsLeft(t *testing.T) {
	t.Parallel()
	late := ports.ModelError{Code: domain.StreamTimeout, Status: 200, Cause: ports.CauseTimeout}
	unanswered := late
	unanswered.Status = 0
	for script, c := range map[string]struct {
		after  time.Duration
		tokens int
		err    ports.ModelError
	}{
		"silent":                             {domain.FirstTokenTimeout, 0, unanswered},
		"slow?delay=61s&headers=late":        {domain.FirstTokenTimeout, 0, unanswered},
		"slow?delay=61s":                     {domain.FirstTokenTimeout, 0, late},
		"stall?after=0":                      {domain.FirstTokenTimeout, 0, late},
		"keepalive?interval=1s":              {domain.FirstTokenTimeout, 0, late},
		"stall?after=3":                      {domain.TokenTimeout, 3, late},
		"stall?after=3&interval=29s":         {2*29*time.Second + domain.TokenTimeout, 3, late},
		"answer?tokens=3&interval=31s":       {domain.TokenTimeout, 1, late},
		"thinking?thoughts=1&interval=31s":   {domain.TokenTimeout, 0, late},
		"endless?interval=29s":               {domain.RunTimeout, 11, late}, // by the caller's deadline
		"thinking?thoughts=100&interval=29s": {domain.RunTimeout, 0, late},
	} {
		for _, p := range providers {
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(t)
				defer f.close(t)
				ctx, cancel := context.WithTimeout(t.Context(), domain.RunTimeout)
				defer cancel()
				begun := time.Now()
				got := listen(t, ctx, f, f.question(p, script))
				if took := time.Since(begun); took != c.after {
					t.Errorf("%s, %s: ended after %s, want %s", script, p, took, c.after)
				}
				if got.Err != c.err || got.Text != scripted.Words(c.tokens) {
					t.Errorf("%s, %s: got %q, %+v", script, p, got.Text, got.Err)
				}
			})
		}
	}
}

func TestAPatientListenerHearsASlowModel(t *testing.T) {
	t.Parallel()
	for script, took := range map[string]time.Duration{
		"slow?delay=59s":                            59 * time.Second,
		"slow?delay=59s&headers=late":               59 * time.Second,
		"answer?tokens=8&interval=29s":              7 * 29 * time.Second,
		"keepalive?n=59&tokens=1":                   59 * time.Second,
		"thinking?thoughts=7&interval=29s&tokens=1": 7 * 29 * time.Second,
		"linger": llm.AfterFinish,
	} {
		for _, p := range providers {
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(t)
				defer f.close(t)
				begun := time.Now()
				if got := listen(t, t.Context(), f, f.question(p, script)); got.Finish != domain.FinishStop || time.Since(begun) != took {
					t.Errorf("%s, %s: got %+v after %s, want it after %s", script, p, got, time.Since(begun), took)
				}
			})
		}
	}
}

func TestTheTimeOfTheListenerDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(t)
		defer f.close(t)
		text := ""
		for piece, err := range f.Answer(t.Context(), f.question(domain.ProviderOpenAI, "answer?tokens=3")) {
			if err != nil {
				t.Fatalf("after %q: %v", text, err)
			}
			text += piece.Text
			time.Sleep(time.Hour)
		}
		if text != scripted.Words(3) {
			t.Errorf("got %q", text)
		}
	})
}

func TestEndingTheLoopEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"endless?interval=1s", "stall?after=3", "endless", "answer?tokens=10000"} {
		for _, p := range providers {
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(t)
				defer f.close(t)
				begun, n := time.Now(), 0
				for _, err := range f.Answer(t.Context(), f.question(p, script)) {
					if n++; n == 3 || err != nil {
						break
					}
				}
				synctest.Wait()
				if open := f.model.Connections(); n != 3 || f.model.Answering() != 0 || open != 0 || time.Since(begun) > 2*time.Second {
					t.Errorf("%s: after %d pieces %d answers and %d connections go on", script, n, f.model.Answering(), open)
				}
			})
		}
	}
}

func TestEndingTheContextEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	for script, status := range map[string]int{"stall?after=3": 200, "slow": 200, "slow?headers=late": 0, "silent": 0, "endless?interval=1s": 200} {
		for _, p := range providers {
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(t)
				defer f.close(t)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(2500*time.Millisecond, cancel)
				begun := time.Now()
				got := listen(t, ctx, f, f.question(p, script))
				want := ports.ModelError{Code: domain.StreamInterrupted, Status: status, Cause: ports.CauseInterrupted}
				if got.Err != want || time.Since(begun) != 2500*time.Millisecond {
					t.Errorf("%s, %s: got %+v after %s", script, p, got.Err, time.Since(begun))
				}
				synctest.Wait()
				if f.model.Answering() != 0 || f.model.Connections() != 0 {
					t.Errorf("%s, %s: the call goes on", script, p)
				}
			})
		}
	}
}

// refusing is an opener that gets no answer.
type refusing struct{ ports.Outcome }

func (r refusing) Open(context.Context, ports.StreamCall) (*ports.Stream, error) {
	return nil, &ports.CallError{Outcome: r.Outcome}
}

func TestACallThatCannotBeMadeSaysWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		result ports.Result
		cause  ports.Cause
		code   domain.StreamCode
		retry  bool
	}{
		{ports.Retryable, ports.CauseUnreachable, domain.StreamUnreachable, true},
		{ports.Retryable, ports.CauseTLS, domain.StreamUnreachable, true},
		{ports.Retryable, ports.CauseTimeout, domain.StreamUnreachable, true}, // to connect
		{ports.Retryable, ports.CauseResponse, domain.StreamRefused, true},
		{ports.Deferred, ports.CauseCircuit, domain.StreamUnreachable, true},
		{ports.Deferred, ports.CauseBusy, domain.StreamUnreachable, true},
		{ports.Deferred, ports.CauseRest, domain.StreamRateLimited, true},
		{ports.Refused, ports.CausePolicy, domain.StreamUnreachable, false},
		{ports.Permanent, ports.CauseRequest, domain.StreamUnreachable, false},
		{ports.Interrupted, ports.CauseInterrupted, domain.StreamInterrupted, false}, // the server stops
	} {
		m := llm.New(refusing{ports.Outcome{Result: c.result, Cause: c.cause, RetryAfter: 3 * time.Second}})
		got := listen(t, t.Context(), m, ports.Question{Provider: domain.ProviderOpenAI})
		wantHeard(t, string(c.cause), got, heard{Err: ports.ModelError{Code: c.code, Cause: c.cause, RetryAfter: 3 * time.Second, Retryable: c.retry}})
	}
	f := onTCP(t)
	f.model.Close()
	got := listen(t, t.Context(), f, f.question(domain.ProviderOpenAI, "answer"))
	wantHeard(t, "nobody listens", got, heard{Err: ports.ModelError{Code: domain.StreamUnreachable, Cause: ports.CauseUnreachable, Retryable: true}})
}

// breaking is a body that ends with an error of its client's.
type breaking struct {
	io.Reader
	err error
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		err = b.err
	}
	return n, err
}

func TestABodyThatBreaksSaysWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outcome ports.Outcome
		code    domain.StreamCode
		retry   bool
	}{
		{ports.Outcome{Result: ports.Retryable, Cause: ports.CauseUnreachable}, domain.StreamInterrupted, true},
		{ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTimeout}, domain.StreamTimeout, false},
		{ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTooLarge}, domain.StreamRefused, false},
		{ports.Outcome{Result: ports.Retryable, Cause: ports.CauseResponse}, domain.StreamRefused, false},
		{ports.Outcome{Result: ports.Interrupted, Cause: ports.CauseInterrupted}, domain.StreamInterrupted, false},
	} {
		for _, begun := range []string{"", "data: {\"choi", "data: {}\n"} { // also within a line, which the parser has words of its own for
			text := `data: {"choices":[{"delta":{"content":"one"}}]}` + "\n\n" + begun
			m := llm.New(canned{Reader: breaking{strings.NewReader(text), &ports.CallError{Outcome: c.outcome}}})
			got := listen(t, t.Context(), m, ports.Question{Provider: domain.ProviderOpenAI})
			wantHeard(t, string(c.outcome.Cause), got, heard{Text: "one", Err: ports.ModelError{Code: c.code, Status: 200, Cause: c.outcome.Cause, Retryable: c.retry}})
		}
	}
}
