package blackbox

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// reduced is what the reducer of docs/bots.md makes of an answer.
type reduced struct {
	Room    string `json:"room"`
	Sender  string `json:"sender"`
	ReplyTo string `json:"replyTo"`
	Text    string `json:"text"`
	Done    bool   `json:"done"`
	Error   string `json:"error"`
	Seq     int64  `json:"seq"`
}

// TestTheDocumentedReducerShowsWhatWasSaid: answers of every kind, over the frames that sockets were sent.
func TestTheDocumentedReducerShowsWhatWasSaid(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	alice := h.User("alice")
	c := connect(t, alice)
	want := map[string]*answer{}
	var late *harness.Conn
	const held = "held?tokens=20&after=8&interval=20ms"
	for _, script := range []string{held, "split-utf8", "cut", "empty", "500|answer", "echo"} {
		room, _ := h.roomWith(t, script, nil, "bob")
		message := ask(t, alice, room, "👩‍👩‍👧‍👦 é")
		if late == nil {
			awaitPart(t, c, room, 1)
			late = connect(t, h.User("bob"))
			h.model.GoOn(held)
		}
		a := awaitOver(t, c, room, message)
		want[a.over.MessageID] = a
		awaitOver(t, late, room, message)
	}
	for name, socket := range map[string]*harness.Conn{"alice": c, "bob, who came midway": late} {
		got := reduceByTheDocs(t, socket.Frames())
		if len(got) != len(want) {
			t.Errorf("%s: %d answers, want %d", name, len(got), len(want))
		}
		for id, a := range want {
			failed := ""
			if a.over.Type == "message.stream.error" {
				failed = a.over.Code
			}
			shown := reduced{a.start.RoomID, a.start.SenderID, a.start.ReplyTo, a.over.Content, true, failed, a.over.Seq}
			if got[id] != shown {
				t.Errorf("%s: %s is %+v, want %+v", name, id, got[id], shown)
			}
		}
	}
	begun := []harness.Frame{}
	for _, f := range c.Frames() { // the first answer up to its last delta, and the socket is lost
		if isOver(f) {
			break
		}
		begun = append(begun, f)
	}
	for id, a := range reduceByTheDocs(t, begun) {
		if whole := want[id]; a.Done || a.Text != whole.over.Content {
			t.Errorf("before its end %s is %+v, want all of %q", id, a, whole.over.Content)
		}
	}
}

// reduceByTheDocs runs the documented reducer over frames, by node.
func reduceByTheDocs(t *testing.T, frames []harness.Frame) map[string]reduced {
	t.Helper()
	page := harness.Must(os.ReadFile(filepath.Join("..", "..", "docs", "bots.md")))(t)
	_, code, found := strings.Cut(string(page), "```js\n")
	code, _, closed := strings.Cut(code, "```\n")
	if !found || !closed {
		t.Fatal("docs/bots.md has no program")
	}
	const run = `
import { readFileSync } from 'node:fs';
const answers = new Map();
for (const line of readFileSync(0, 'utf8').split('\n')) if (line) reduce(answers, JSON.parse(line));
console.log(JSON.stringify(Object.fromEntries(answers)));
abandon(answers);
for (const answer of answers.values()) if (!answer.done) throw new Error('what is not done stays');
`
	path := filepath.Join(t.TempDir(), "reduce.mjs")
	harness.Check(t, os.WriteFile(path, []byte(code+run), 0o600))
	var input, complaint bytes.Buffer
	for _, f := range frames {
		input.Write(append(f.Raw[:len(f.Raw):len(f.Raw)], '\n'))
	}
	cmd := exec.CommandContext(t.Context(), "node", path)
	cmd.Stdin, cmd.Stderr = &input, &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	var answers map[string]reduced
	harness.Check(t, json.Unmarshal(out, &answers))
	return answers
}
