package blackbox

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// advisor is a tenant's backend that is asked what bots are to be told.
type advisor struct {
	url string

	mu      sync.Mutex
	asked   []advice
	answers []http.HandlerFunc // to the first calls, in order; after those goodAnswer
}

// advice is one call.
type advice struct {
	header http.Header
	body   []byte
}

func newAdvisor(t *testing.T, answers ...http.HandlerFunc) *advisor {
	t.Helper()
	a := &advisor{answers: answers}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL + "/context"
	return a
}

// ServeHTTP notes bot.context and answers in turn; of anything else the advisor wants nothing.
func (a *advisor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Contains(body, []byte(`"type":"bot.context"`)) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	a.mu.Lock()
	n := len(a.asked)
	a.asked = append(a.asked, advice{r.Header.Clone(), body})
	answer := says(goodAnswer)
	if n < len(a.answers) {
		answer = a.answers[n]
	}
	a.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer(w, r)
}

func (a *advisor) calls() []advice {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[:len(a.asked):len(a.asked)]
}

const advised = harness.BodyMark + " You know the order."

var goodAnswer = `{"system_prompt":"` + advised + `"}`

// says answers 200 with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	}
}

// status answers with that status, and with what would be a good answer.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, goodAnswer)
	}
}

// contextBody is bot.context.
type contextBody struct {
	Type     string          `json:"type"`
	Tenant   string          `json:"tenant_id"`
	Bot      string          `json:"bot_id"`
	Room     string          `json:"room_id"`
	Metadata json.RawMessage `json:"room_metadata"`
	Message  json.RawMessage `json:"message"`
	History  []scripted.Turn `json:"history"`
}

func TestABotAsksWhatItIsToBeTold(t *testing.T) {
	t.Parallel()
	const secret, script = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "echo"
	a := newAdvisor(t)
	h := newHouse(t).another(t, map[string]any{"webhook_secret": secret})
	room, id := h.roomWith(t, script, map[string]any{"webhook_url": a.url}, "bob")
	alice := h.User("alice")
	harness.Must(alice.PatchRoom(room, map[string]any{"metadata": map[string]any{"order": 4711}}))(t)
	c := connect(t, alice)
	for _, text := range []string{"Hello", "When?"} {
		wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, text)), harness.Body("%s", text), "stop")
	}
	calls := a.calls()
	if len(calls) != 2 {
		t.Fatalf("the webhook was called %d times, want 2", len(calls))
	}
	history := harness.Must(alice.History(room, 0, 100))(t)
	call := calls[1]
	wantSigned(t, call, secret)
	var got contextBody
	decoder := json.NewDecoder(bytes.NewReader(call.body))
	decoder.DisallowUnknownFields()
	harness.Check(t, decoder.Decode(&got))
	if got.Type != "bot.context" || got.Tenant != h.ID || got.Bot != id || got.Room != room {
		t.Errorf("the webhook was told %s", call.body)
	}
	sameJSON(t, "room_metadata", got.Metadata, []byte(`{"order":4711}`))
	stored := harness.Must(alice.Call(http.MethodGet, "/rooms/"+room+"/messages/"+history[2].MessageID, nil, http.StatusOK, nil))(t)
	sameJSON(t, "message", got.Message, stored.Body)
	want := []scripted.Turn{
		{Role: "user", Text: harness.Body("Hello")}, {Role: "assistant", Text: harness.Body("Hello")}, {Role: "user", Text: harness.Body("When?")},
	}
	asked := h.askedFor(script)[1]
	if fmt.Sprint(got.History) != fmt.Sprint(want) || fmt.Sprint(asked.Turns) != fmt.Sprint(want) || asked.System != advised {
		t.Errorf("the webhook was shown %v, and the model %v with %q, want %v with %q", got.History, asked.Turns, asked.System, want, advised)
	}
	if wantID := "ctx_" + strings.TrimPrefix(history[2].MessageID, "msg_") + "." + id; call.header.Get("webhook-id") != wantID {
		t.Errorf("webhook-id %q, want %q", call.header.Get("webhook-id"), wantID)
	}
}

// wantSigned fails unless a call is signed in both ways.
func wantSigned(t *testing.T, call advice, secret string) {
	t.Helper()
	verifier := harness.Must(standardwebhooks.NewWebhook(secret))(t)
	if err := verifier.Verify(call.body, call.header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	mac := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
	mac.Write(call.body)
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); call.header.Get("X-ChatAPI-Signature") != want {
		t.Errorf("X-ChatAPI-Signature %q, want %q", call.header.Get("X-ChatAPI-Signature"), want)
	}
	if got := call.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

// TestABotAsksItsOwnWebhookFirst: then the tenant's, then the operator's, and then nobody.
func TestABotAsksItsOwnWebhookFirst(t *testing.T) {
	t.Parallel()
	operators, tenants, own := newAdvisor(t), newAdvisor(t), newAdvisor(t)
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	tenant := tenantOf(t, harness.Options{Env: map[string]string{
		"OUTBOUND_ALLOW": "llm=127.0.0.1,webhook=127.0.0.1", "WEBHOOK_URL": operators.url, "WEBHOOK_SECRET": "a secret of the operator's",
	}})
	h := &house{Tenant: tenant, model: model}
	told := func(h *house, more map[string]any, want *advisor) {
		t.Helper()
		alice, before := h.User("alice"), len(want.calls())
		room, _ := h.roomWith(t, "echo", more)
		c := connect(t, alice)
		wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "Hello")), harness.Body("Hello"), "stop")
		if got := len(want.calls()); got != before+1 {
			t.Errorf("with %v the webhook was called %d times, want once", more, got-before)
		}
	}
	told(h, nil, operators)
	other := h.another(t, map[string]any{"webhook_url": tenants.url})
	told(other, nil, tenants)
	told(other, map[string]any{"webhook_url": own.url}, own)
	if all := len(operators.calls()) + len(tenants.calls()) + len(own.calls()); all != 3 {
		t.Errorf("%d calls in all, want 3", all)
	}
}

// TestABotThatIsToSkipSaysNothing: to this message, and the next is asked for anew.
func TestABotThatIsToSkipSaysNothing(t *testing.T) {
	t.Parallel()
	const script = "echo"
	for name, answer := range map[string]string{
		"skip": `{"skip":true}`, "skip and a prompt": `{"system_prompt":"x","skip":true}`, "skip and more": `{"skip":true,"reason":"at night"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			a := newAdvisor(t, says(answer))
			room, _ := h.roomWith(t, script, map[string]any{"webhook_url": a.url})
			alice := h.User("alice")
			c := connect(t, alice)
			ask(t, alice, room, "first")
			harness.Eventually(t, 30*time.Second, "the first call", func() bool { return len(a.calls()) == 1 })
			wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "second")), harness.Body("second"), "stop")
			if all := answers(t, c, room); len(all) != 1 || len(h.askedFor(script)) != 1 || len(a.calls()) != 2 {
				t.Errorf("%d answers, the model was asked %d times, the webhook %d times", len(all), len(h.askedFor(script)), len(a.calls()))
			}
		})
	}
}

// badAnswers are those that say nothing of what a bot is to be told.
var badAnswers = map[string]http.HandlerFunc{
	"nothing": says(""), "no JSON": says("be nice"), "half of it": says(goodAnswer[:20]), "a list": says(`[]`), "a string": says(`"be nice"`), "null": says(`null`),
	"an empty object": says(`{}`), "a number": says(`{"system_prompt":5}`), "a null prompt": says(`{"system_prompt":null}`), "no skip": says(`{"skip":false}`),
	"two answers": says(goodAnswer + goodAnswer), "a skip that is none": says(`{"skip":"yes"}`),
	"204": status(http.StatusNoContent), "301": status(http.StatusMovedPermanently), "302": status(http.StatusFound), "400": status(http.StatusBadRequest),
	"401": status(http.StatusUnauthorized), "404": status(http.StatusNotFound), "410": status(http.StatusGone), "429": status(http.StatusTooManyRequests),
	"500": status(http.StatusInternalServerError), "503": status(http.StatusServiceUnavailable),
	"too much": says(`{"system_prompt":"` + strings.Repeat("x", 256<<10) + `"}`),
	"compressed": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff})
	},
	"cut off": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, goodAnswer)
		panic(http.ErrAbortHandler)
	},
	"late": func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(15 * time.Second):
		}
		says(goodAnswer)(w, r)
	},
}

// TestABadAnswerOfTheWebhookSilencesTheBotUnlessItIsToAnswerThen: by the tenant's on_webhook_error.
func TestABadAnswerOfTheWebhookSilencesTheBotUnlessItIsToAnswerThen(t *testing.T) {
	t.Parallel()
	house := newHouse(t)
	for name, bad := range badAnswers {
		for _, then := range []string{"skip", "answer"} {
			t.Run(name+", "+then, func(t *testing.T) {
				t.Parallel()
				script := fmt.Sprintf("answer?tokens=3&text=&interval=%dms", len(name)*10+len(then)) // of its own
				h := house.another(t, map[string]any{"on_webhook_error": then})
				a := newAdvisor(t, bad)
				room, _ := h.roomWith(t, script, map[string]any{"webhook_url": a.url, "name": name})
				alice := h.User("alice")
				c := connect(t, alice)
				first := ask(t, alice, room, "first")
				if then == "answer" {
					a := awaitOverFor(t, c, room, first, 30*time.Second)
					wantEnd(t, alice, a, scripted.Words(3), "stop")
					return
				}
				harness.Eventually(t, 30*time.Second, "the first call", func() bool { return len(a.calls()) == 1 })
				second := ask(t, alice, room, "second")
				wantEnd(t, alice, awaitOverFor(t, c, room, second, 30*time.Second), scripted.Words(3), "stop")
				if all := answers(t, c, room); len(all) != 1 || len(a.calls()) != 2 {
					t.Errorf("%d answers, the webhook was called %d times", len(all), len(a.calls()))
				}
			})
		}
	}
	t.Cleanup(func() { // after all of them: what the model was told
		told := map[string]int{}
		for _, r := range house.model.Asked() {
			told[r.System]++
		}
		if told[advised] != len(badAnswers) || told[harness.Body("You are Ada.")] != len(badAnswers) || len(told) != 2 {
			t.Errorf("the model was told %v, want each %d times: the webhook's prompt, and the bot's own when it is to answer", told, len(badAnswers))
		}
	})
}

// wantContextLogged fails unless the log says once, as a warning, which bot was not given its context and why.
func wantContextLogged(t *testing.T, s *harness.Server, bot string) {
	t.Helper()
	var found []string
	for line := range strings.Lines(s.Log()) {
		var entry struct {
			Level, Msg, Error, Tenant, Bot string
			Answering                      *bool
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "context of a bot not answered" {
			continue
		}
		found = append(found, line)
		if entry.Level != "WARN" || entry.Bot != bot || entry.Tenant == "" || entry.Error == "" || entry.Answering == nil || *entry.Answering {
			t.Errorf("the log says %s", line)
		}
	}
	if len(found) != 1 {
		t.Errorf("the log says %q, want one line", found)
	}
}

// TestAWebhookThatIsOutOfReachSilencesTheBot: nobody is there, or it may not be called.
func TestAWebhookThatIsOutOfReachSilencesTheBot(t *testing.T) {
	t.Parallel()
	const script = "echo"
	h := newHouse(t)
	port := harness.Must(harness.FreePort())(t)
	room, id := h.roomWith(t, script, map[string]any{"webhook_url": fmt.Sprintf("http://127.0.0.1:%d/", port)})
	alice := h.User("alice")
	c := connect(t, alice)
	ask(t, alice, room, "first")
	harness.Eventually(t, 30*time.Second, "the context is counted as failed", func() bool {
		return harness.Must(h.Server().Metric("chatapi_bots_contexts_failed_total"))(t) == 1
	})
	wantContextLogged(t, h.Server(), id)
	if all := answers(t, c, room); len(all) != 0 || len(h.askedFor(script)) != 0 {
		t.Errorf("%d answers, the model was asked %d times", len(all), len(h.askedFor(script)))
	}
	harness.Must(h.Backend().Call(http.MethodPatch, "/bots/"+id, map[string]any{"webhook_url": nil}, http.StatusOK, nil))(t)
	wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "second")), harness.Body("second"), "stop")
}
