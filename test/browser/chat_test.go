package browser

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// chat is what chat.mjs gets on its standard input.
type chat struct {
	Base     string            `json:"base"`
	Page     string            `json:"page"` // where examples/web-chat is served
	Key      string            `json:"key"`  // of the tenant's backend
	Tokens   map[string]string `json:"tokens"`
	Room     string            `json:"room"`
	Bot      string            `json:"bot"`
	Texts    map[string]string `json:"texts"`
	Chromium string            `json:"chromium"`
	Shots    string            `json:"shots"`
}

// texts are what is said: by alice, carol, the bot and the backend.
var texts = map[string]string{
	"where":     "Where is my order 4711?",
	"shipped":   "Your order left our warehouse on Monday. It is in Hamburg now, and the courier expects to bring it to your door on Friday morning, between nine and twelve.",
	"home":      "Do I have to be at home?",
	"letterBox": "You need not be at home: it fits into the letter box.",
	"count":     "Count for me, please.",
	"numbers":   "One two 😀 three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen.",
	"there":     "Are you there?",
	"here":      "I am here, too.",
	"parcel":    "A parcel is near.",
	"refund":    "I want my money back.",
	"people":    "That I cannot do myself, but our people can, if you are willing to wait for them.",
	"hello":     "Hello Alice, this is Carol. I have refunded it just now.",
	"thanks":    "Thank you!",
	"bye":       "Good bye!",
	"pleasure":  "My pleasure.",
}

// TestTwoPeopleAndABotChatInABrowser has the page served by another origin than the API's, as pages are.
func TestTwoPeopleAndABotChatInABrowser(t *testing.T) {
	t.Parallel()
	chromium, shots := equipment(t)
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	page := httptest.NewServer(http.FileServer(http.Dir(filepath.Join("..", "..", "examples", "web-chat"))))
	t.Cleanup(page.Close)
	s := harness.Start(t, harness.Options{Env: map[string]string{"ALLOWED_ORIGINS": page.URL, "OUTBOUND_ALLOW": "llm=127.0.0.1"}})
	tenant := harness.Must(s.NewTenant(t.Name()))(t)
	signer := harness.Must(tenant.NewSigner())(t)
	for _, text := range texts {
		s.Secret(text) // they have no mark, as people look at the pictures
	}
	tokens := map[string]string{}
	for _, user := range []string{"alice", "carol"} {
		tokens[user] = harness.Must(signer.Token(user, time.Hour))(t)
	}
	var bot struct {
		ID string `json:"bot_id"`
	}
	settings := map[string]any{"name": "Support", "llm_base_url": model.URL, "model": "answer"}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/bots", settings, http.StatusCreated, &bot))(t)
	room := harness.Must(tenant.User("carol").CreateRoom("group", "alice", bot.ID))(t).RoomID
	harness.Must(tenant.User("carol").PatchRoom(room, map[string]any{"name": "Order 4711"}))(t)
	node(t, "chat.mjs", chat{
		Base: s.Base, Page: page.URL, Key: tenant.Key, Tokens: tokens, Room: room, Bot: bot.ID, Texts: texts,
		Chromium: chromium, Shots: shots,
	})
}
