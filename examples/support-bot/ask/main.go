// Command ask makes a support bot and a room with a customer, asks what it is given as arguments, then what it reads line by
// line, and prints the answers as they are made.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// agent is who takes over, and the room's admin.
var agent = cmp.Or(os.Getenv("ASSIGNEE"), "carol")

const (
	customer = "alice"
	patience = 90 * time.Second // for an answer: a model that is loaded first takes its time
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

func run(questions []string, in io.Reader, out io.Writer) error {
	t := talk{base: os.Getenv("CHATAPI_URL"), key: os.Getenv("CHATAPI_KEY"), out: out}
	if err := t.open(); err != nil {
		return err
	}
	defer func() { _ = t.socket.Close() }()
	return t.converse(feed(questions, in), t.frames())
}

// talk is the customer's conversation. Only converse touches it.
type talk struct {
	base, key string
	out       io.Writer
	room      string
	socket    *websocket.Conn
	human     bool // people answer
}

// feed gives the questions of the command line, and then the lines that are typed.
func feed(given []string, in io.Reader) <-chan string {
	all := make(chan string)
	go func() {
		defer close(all)
		for _, q := range given {
			all <- q
		}
		for lines := bufio.NewScanner(in); lines.Scan(); {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				all <- line
			}
		}
	}()
	return all
}

// frames are what the socket brings, until it ends.
func (t *talk) frames() <-chan frame {
	all := make(chan frame)
	go func() {
		defer close(all)
		for {
			var f frame
			if t.socket.ReadJSON(&f) != nil {
				return
			}
			all <- f
		}
	}()
	return all
}

// converse sends one question after the other, each when the one before is answered, and prints what comes.
func (t *talk) converse(questions <-chan string, frames <-chan frame) error {
	next, late := questions, (<-chan time.Time)(nil)
	for {
		select {
		case q, more := <-next:
			if !more {
				return nil
			}
			if err := t.socket.WriteJSON(map[string]any{"type": "send_message", "room_id": t.room, "content": q}); err != nil {
				return err
			}
			next, late = nil, time.After(patience)
		case f, open := <-frames:
			over, err := t.show(f)
			switch {
			case err != nil:
				return err
			case !open:
				return errors.New("the server has closed the socket")
			case over:
				next, late = questions, nil
			}
		case <-late:
			return fmt.Errorf("no answer within %s", patience)
		}
	}
}

// open makes the bot and the room, and opens the customer's socket.
func (t *talk) open() error {
	var bot struct {
		ID string `json:"bot_id"`
	}
	if err := t.call("/bots", newBot(), &bot); err != nil {
		return err
	}
	var room struct {
		ID string `json:"room_id"`
	}
	about := map[string]any{"customer": "Alice", "order": "4711", "status": "was shipped on Monday"}
	members := []string{agent, customer, bot.ID} // the first is the admin
	if err := t.call("/rooms", map[string]any{"type": "group", "name": "Order 4711", "members": members, "metadata": about}, &room); err != nil {
		return err
	}
	t.room = room.ID
	address := strings.Replace(t.base, "http", "ws", 1) + "/ws?ack=auto"
	socket, answer, err := websocket.DefaultDialer.Dial(address, http.Header{"X-API-Key": {t.key}, "X-User-Id": {customer}})
	if answer != nil {
		_ = answer.Body.Close()
	}
	if err != nil {
		return err
	}
	t.socket = socket
	if pages := os.Getenv("WEB_CHAT"); pages != "" {
		t.invite(pages)
	}
	return nil
}

// newBot is the bot, with the model that the environment names.
func newBot() map[string]any {
	bot := map[string]any{
		"name": "Support", "webhook_url": os.Getenv("WEBHOOK_URL"), "llm_base_url": os.Getenv("LLM_BASE_URL"), "model": os.Getenv("LLM_MODEL"),
		"provider": cmp.Or(os.Getenv("LLM_PROVIDER"), "openai"),
	}
	for field, name := range map[string]string{"llm_api_key": "LLM_API_KEY", "llm_api_key_env": "LLM_API_KEY_ENV"} {
		if value := os.Getenv(name); value != "" {
			bot[field] = value
		}
	}
	return bot
}

// invite prints where a browser finds the room: the key is in the fragment, which is sent to nobody.
func (t *talk) invite(pages string) {
	for _, user := range []string{customer, agent} {
		at := url.Values{"server": {t.base}, "key": {t.key}, "user": {user}, "room": {t.room}}
		t.print("%s in a browser: %s#%s\n", user, pages, at.Encode())
	}
}

// call asks ChatAPI as the tenant's backend.
func (t *talk) call(path string, body map[string]any, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+path, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", t.key)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusCreated {
		complaint, _ := io.ReadAll(io.LimitReader(got.Body, 4096))
		return fmt.Errorf("POST %s: %s %s", path, got.Status, complaint)
	}
	return json.NewDecoder(got.Body).Decode(into)
}

// frame is what is used of the frames from the server.
type frame struct {
	Type     string `json:"type"`
	RoomID   string `json:"room_id"`
	SenderID string `json:"sender_id"`
	Content  string `json:"content"`
	Delta    string `json:"delta"`
	Code     string `json:"code"`
	Problem  string `json:"message"`
	Mode     string `json:"mode"`
	Assignee string `json:"assignee"`
}

// show prints a frame. It reports whether the next question may come: the answer has ended, or a person is to give it.
func (t *talk) show(f frame) (over bool, err error) {
	if f.Type == "error" {
		return true, errors.New(f.Problem)
	}
	if f.RoomID != t.room {
		return false, nil
	}
	switch f.Type {
	case "message":
		t.print("%s: %s\n", f.SenderID, f.Content)
		return t.human && f.SenderID == customer, nil
	case "message.stream.start":
		t.print("Support: %s", f.Content)
	case "message.stream.delta":
		t.print("%s", f.Delta)
	case "message.stream.end":
		t.print("\n")
		return true, nil
	case "message.stream.error":
		t.print(" [%s]\n", f.Code)
		return true, nil
	case "room.handoff":
		t.human = f.Mode == "human"
		t.print("(%s answers from here on)\n", cmp.Or(f.Assignee, "the bot"))
		return t.human, nil
	}
	return false, nil
}

func (t *talk) print(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }
