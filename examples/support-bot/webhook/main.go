// Command webhook is the backend of a support bot: before each answer ChatAPI asks it what the bot is to be told. It answers
// from the room's metadata, and calls a person when the customer asks for one. main.mjs is the same in JavaScript.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

var (
	chatAPI  = os.Getenv("CHATAPI_URL")
	apiKey   = os.Getenv("CHATAPI_KEY")
	assignee = os.Getenv("ASSIGNEE") // who takes over

	wantsHuman = regexp.MustCompile(`(?i)\b(human|person|agent|somebody)\b`)
)

// event is what is used of bot.context.
type event struct {
	Type   string `json:"type"`
	RoomID string `json:"room_id"`
	Room   struct {
		Customer string `json:"customer"`
		Order    string `json:"order"`
		Status   string `json:"status"`
	} `json:"room_metadata"`
	Message struct {
		Content string `json:"content"`
	} `json:"message"`
}

// answer says what the bot is told, or that it is to be silent.
func answer(ctx context.Context, e event) (any, error) {
	if wantsHuman.MatchString(e.Message.Content) {
		return map[string]any{"skip": true}, handOff(ctx, e.RoomID)
	}
	return map[string]any{"system_prompt": fmt.Sprintf("You answer customers of Acme, in two sentences at most. "+
		"You talk to %s, whose order %s %s. What you do not know you do not make up.", e.Room.Customer, e.Room.Order, e.Room.Status)}, nil
}

// handOff gives the room to a person: its bots are silent until somebody gives it back with {"mode":"bot"}.
func handOff(ctx context.Context, room string) error {
	body, _ := json.Marshal(map[string]string{"mode": "human", "assignee": assignee})
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, chatAPI+"/rooms/"+room+"/handoff", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", apiKey)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("the handoff was answered %s", got.Status)
	}
	return nil
}

// serve takes what ChatAPI sends, once its signature is found to be right and at most five minutes old.
func serve(w http.ResponseWriter, r *http.Request, signature *standardwebhooks.Webhook) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	var e event
	switch {
	case err != nil || signature.Verify(body, r.Header) != nil:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case json.Unmarshal(body, &e) != nil || e.Type != "bot.context":
		w.WriteHeader(http.StatusNoContent) // of other events there will be more
		return
	}
	said, err := answer(r.Context(), e)
	if err != nil {
		log.Print(err)
		w.WriteHeader(http.StatusInternalServerError) // the bot says nothing then
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(said)
}

func main() {
	signature, err := standardwebhooks.NewWebhook(os.Getenv("WEBHOOK_SECRET")) // NewWebhookRaw for one without whsec_
	if err != nil {
		log.Fatalf("WEBHOOK_SECRET: %v", err)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = fmt.Fprintf(os.Stdout, "http://%s\n", l.Addr())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, signature) })
	log.Fatal((&http.Server{Handler: handler, ReadTimeout: 10 * time.Second}).Serve(l))
}
