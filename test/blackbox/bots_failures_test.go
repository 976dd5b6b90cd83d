package blackbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

const well = "" // the code of what ends well

// TestWhateverAModelDoesTheStreamEndsAsDocumented: once, with what was said, and nothing of the key or of what the model's server says.
func TestWhateverAModelDoesTheStreamEndsAsDocumented(t *testing.T) {
	t.Parallel()
	house, three, eight := newHouse(t), scripted.Words(3), scripted.Words(8)
	for script, want := range map[string]struct {
		code  string
		text  string // what is kept; with an error and no text nothing is
		asked int    // how often the model is asked
	}{
		"answer": {well, eight, 1}, "filtered": {well, eight, 1}, "tool": {well, eight, 1}, "thinking": {well, eight, 1}, "no-done": {well, eight, 1},
		"no-finish": {well, eight, 1}, "linger": {well, eight, 1}, "slow?delay=2s": {well, eight, 1}, "keepalive?n=2": {well, eight, 1},
		"split-utf8": {well, scripted.SplitText, 1}, "invalid-utf8": {well, scripted.InvalidText, 1},

		"empty": {"EMPTY", "", 1},
		"cut":   {"INTERRUPTED", three, 1}, "cut-line": {"INTERRUPTED", three, 1}, "cut?clean=true": {"INTERRUPTED", three, 1},
		"cut?after=0": {"INTERRUPTED", "", 3},
		"malformed":   {"MODEL_ERROR", three, 1}, "malformed?after=0": {"MODEL_ERROR", "", 1}, "error": {"MODEL_ERROR", three, 1},
		"huge": {"MODEL_ERROR", three, 1}, "huge?after=0": {"MODEL_ERROR", "", 1}, "json": {"MODEL_ERROR", "", 1}, "page": {"MODEL_ERROR", "", 1},
		"302": {"MODEL_ERROR", "", 1}, "400": {"MODEL_ERROR", "", 1}, "401": {"MODEL_ERROR", "", 1}, "404": {"MODEL_ERROR", "", 1},
		"500": {"MODEL_ERROR", "", 3}, "529": {"MODEL_ERROR", "", 3}, "429": {"MODEL_RATE_LIMITED", "", 3},
		"error?type=rate_limit_error": {"MODEL_RATE_LIMITED", three, 1},

		"500|answer": {well, eight, 2}, "503|529|answer": {well, eight, 3}, "429?retry_after=2|answer": {well, eight, 2}, "cut?after=0|answer": {well, eight, 2},
		"500|cut|answer": {"INTERRUPTED", three, 2}, "500|empty|answer": {"EMPTY", "", 2}, "500|401|answer": {"MODEL_ERROR", "", 2},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			h := house.another(t, nil)
			room, _ := h.roomWith(t, script, nil)
			alice := h.User("alice")
			c := connect(t, alice)
			message := ask(t, alice, room, "Hello")
			a := awaitOverFor(t, c, room, message, time.Minute)
			if want.code == well {
				wantEnd(t, alice, a, want.text, "stop")
			} else {
				wantError(t, alice, a, want.code, want.text, want.text != "")
			}
			if asked := len(house.askedFor(script)); asked != want.asked || a.attempt != want.asked {
				t.Errorf("the model was asked %d times, and the last attempt was %d, want %d", asked, a.attempt, want.asked)
			}
			if all := answers(t, c, room); len(all) != 1 {
				t.Errorf("%d answers were begun, want one", len(all))
			}
			wantSecretsUnseen(t, c)
		})
	}
}

// wantSecretsUnseen fails when a socket was sent what only the model's server may know.
func wantSecretsUnseen(t *testing.T, c *harness.Conn) {
	t.Helper()
	for _, f := range c.Frames() {
		if text := string(f.Raw); strings.Contains(text, modelKey) || strings.Contains(text, "called with") || strings.Contains(text, "127.0.0.1") {
			t.Errorf("a socket was sent %s", f.Raw)
		}
	}
}

func TestAnAnswerThatNeverEndsIsCutAtItsLongest(t *testing.T) {
	t.Parallel()
	const longest = 48 << 10
	h := newHouse(t)
	room, _ := h.roomWith(t, "endless", nil)
	alice := h.User("alice")
	c := connect(t, alice)
	a := awaitOver(t, c, room, ask(t, alice, room, "Hello"))
	if said := len(a.over.Content); said > longest || said < longest-10 {
		t.Errorf("%d bytes are kept, want %d", said, longest)
	}
	wantEnd(t, alice, a, a.over.Content, "length")
	h.wantModelIdle(t)
	long, _ := h.roomWith(t, "long", nil)
	wantEnd(t, alice, awaitOver(t, c, long, ask(t, alice, long, "Hello")), scripted.Words(8), "length")
}

func TestAModelThatFallsSilentIsLeft(t *testing.T) {
	t.Parallel()
	const patience, late = 30 * time.Second, 30 * time.Second
	h := newHouse(t)
	room, _ := h.roomWith(t, "stall", nil)
	alice := h.User("alice")
	c := connect(t, alice)
	message := ask(t, alice, room, "Hello")
	awaitPart(t, c, room, 1)
	began := time.Now()
	a := awaitOverFor(t, c, room, message, patience+late)
	wantError(t, alice, a, "TIMEOUT", scripted.Words(3), true)
	if took := a.over.At.Sub(began); took < patience-time.Second {
		t.Errorf("it was left after %s", took)
	}
	h.wantModelIdle(t)
}

// TestAModelThatIsNotThereIsUnreachable: whatever the reason, it is told in the same words.
func TestAModelThatIsNotThereIsUnreachable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	alice := h.User("alice")
	c := connect(t, alice)
	port := harness.Must(harness.FreePort())(t)
	for _, base := range []string{"http://127.0.0.1:" + jsonOf(port) + "/v1", "https://no-such-host.invalid/v1"} {
		room, _ := h.roomWith(t, "answer", map[string]any{"llm_base_url": base})
		wantError(t, alice, awaitOverFor(t, c, room, ask(t, alice, room, "Hello"), time.Minute), "MODEL_UNREACHABLE", "", false)
	}
}

func jsonOf(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

// TestNoSettingOfABotLeadsIntoTheOperatorsNetwork: neither of the model nor of the webhook.
func TestNoSettingOfABotLeadsIntoTheOperatorsNetwork(t *testing.T) {
	t.Parallel()
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	tenant := tenantOf(t, harness.Options{})
	for _, url := range []string{
		model.URL, "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://0.0.0.0/", "https://169.254.169.254/latest/meta-data", "https://10.0.0.1/",
		"https://172.16.0.1/", "https://192.168.1.1/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://2130706433/", "https://0x7f000001/",
		"https://127.1/", "http://example.com/", "ftp://example.com/", "gopher://example.com/", "file:///etc/passwd", "unix:///run/docker.sock",
	} {
		for _, field := range []string{"llm_base_url", "webhook_url"} {
			body := map[string]any{"name": "n", "model": "answer", "llm_base_url": "https://llm.example.com/v1"}
			body[field] = url
			res := harness.Must(tenant.Backend().Do(t.Context(), http.MethodPost, "/bots", body))(t)
			if res.Status != http.StatusBadRequest {
				t.Errorf("%s %s: %d %s", field, url, res.Status, res.Body)
				continue
			}
			wantProblem(t, res, "VALIDATION_ERROR", field)
		}
	}
	if asked := model.Asked(); len(asked) != 0 {
		t.Errorf("the model was asked %v", asked)
	}
}

// TestAKeyOfTheOperatorsReachesItsModelAndNobodyElse: the search at the end of every test finds it in no log, error or metric.
func TestAKeyOfTheOperatorsReachesItsModelAndNobodyElse(t *testing.T) {
	t.Parallel()
	const lent = "lent-key-canary-91c2"
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	other := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(other.Close)
	origin := strings.TrimSuffix(model.URL, "/v1")
	tenant := tenantOf(t, harness.Options{Env: map[string]string{
		"OUTBOUND_ALLOW": "llm=127.0.0.1", "BOT_KEY_ENVS": "MODEL_KEY=" + origin, "MODEL_KEY": lent,
	}})
	tenant.Server().Secret(lent)
	h := &house{Tenant: tenant, model: model}
	room, id := h.roomWith(t, "echo", map[string]any{"llm_api_key": nil, "llm_api_key_env": "MODEL_KEY"})
	alice := h.User("alice")
	c := connect(t, alice)
	wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "Hello")), harness.Body("Hello"), "stop")
	if asked := model.Asked(); len(asked) != 1 || asked[0].Key() != lent {
		t.Errorf("the model was asked %v", asked)
	}
	for _, change := range []map[string]any{{"llm_base_url": other.URL}, {"llm_api_key_env": "JWT_SECRET"}, {"llm_api_key_env": "MASTER_API_KEY"}} {
		res := harness.Must(tenant.Backend().Call(http.MethodPatch, "/bots/"+id, change, http.StatusBadRequest, nil))(t)
		wantProblem(t, res, "VALIDATION_ERROR", "llm_api_key_env")
	}
	harness.Must(tenant.Backend().Call(http.MethodPatch, "/bots/"+id, map[string]any{"llm_base_url": other.URL, "llm_api_key_env": nil}, http.StatusOK, nil))(t)
	wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "Again")), harness.Body("Again"), "stop")
	if asked := other.Asked(); len(asked) != 1 || asked[0].Key() != "" {
		t.Errorf("the other model was asked with %q", asked[0].Key())
	}
	wantSecretsUnseen(t, c)
}

// TestAKeyDoesNotFollowABotToAnotherOrigin: nobody reads a stored key by pointing the bot at a server of theirs.
func TestAKeyDoesNotFollowABotToAnotherOrigin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(other.Close)
	room, id := h.roomWith(t, "echo", nil)
	var changed bot
	harness.Must(h.Backend().Call(http.MethodPatch, "/bots/"+id, map[string]any{"llm_base_url": other.URL}, http.StatusOK, &changed))(t)
	alice := h.User("alice")
	c := connect(t, alice)
	awaitOver(t, c, room, ask(t, alice, room, "Hello"))
	if asked := other.Asked(); changed.HasKey || len(asked) != 1 || asked[0].Key() != "" {
		t.Errorf("the bot is %+v now, and its new model was asked %v", changed, asked)
	}
}
