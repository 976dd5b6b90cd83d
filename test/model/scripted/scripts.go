package scripted

import (
	"fmt"
	"net/http"
	"strings"
)

// Script is one way to answer.
type Script struct {
	Name string
	Args string // each with its default
	Help string
	play func(*player)
}

// SplitText and InvalidText are what the scripts split-utf8 and invalid-utf8 come to when they are read well.
const (
	SplitText   = "🙂🙂🙂🙂é"
	InvalidText = "a\uFFFDb\uFFFDc\uFFFD"
)

// hugeLine is the length of the line of the script huge, in bytes.
const hugeLine = 10 << 20

// Scripts are all there are.
var Scripts = []Script{
	{"answer", "tokens=8 interval=0s text=", "says so many words (w1 w2 …), or the text word by word, and finishes", (*player).answer},
	{"echo", "interval=0s", "says the last message of the user's, word by word", (*player).echo},
	{"long", "tokens=8 interval=0s", "is answer with the finish length", func(p *player) { p.finished("length") }},
	{"filtered", "tokens=8 interval=0s", "is answer with the finish of a content filter", func(p *player) { p.finished("content_filter") }},
	{"tool", "tokens=8 interval=0s", "is answer that ends with a call of a tool", (*player).tool},
	{"thinking", "tokens=8 interval=0s thoughts=3", "thinks aloud first, in so many tokens", (*player).thinking},
	{"empty", "", "finishes without a word", func(p *player) { _ = p.begin() && p.finish("stop") }},
	{"endless", "interval=0s", "never stops talking", (*player).endless},
	{"split-utf8", "", "cuts through characters: between writes, between tokens (bytes and \\u escapes)", (*player).split},
	{"invalid-utf8", "", "says bytes and \\u escapes that are no characters", (*player).invalid},
	{"malformed", "after=3 interval=0s", "says words, then half a JSON object, then finishes", (*player).malformed},
	{"error", "after=3 interval=0s type=overloaded_error", "says words, then an error object", (*player).fault},
	{"cut", "after=3 interval=0s clean=false", "says words, then drops the connection, or ends cleanly with no finish", (*player).cut},
	{"cut-line", "after=3 interval=0s", "says words, then drops the connection within a line", (*player).cutLine},
	{"held", "tokens=8 after=3 interval=0s", "is answer that waits after some words until a test has called GoOn for the script", (*player).held},
	{"stall", "after=3 interval=0s", "says words, then nothing, and keeps the connection open", (*player).stall},
	{"slow", "tokens=8 interval=0s delay=5s headers=early", "is answer whose first token (with headers=late: status) is late", (*player).slow},
	{"silent", "", "takes the question and answers nothing, not even a status", (*player).gone},
	{"keepalive", "tokens=8 interval=1s n=0", "sends n comments and empty tokens (0 = for ever), then answers", (*player).keepAlive},
	{"huge", "after=3 interval=0s", "says words, then one line of 10 MiB, then finishes", (*player).huge},
	{"no-done", "tokens=8 interval=0s", "is answer with nothing after its finish", (*player).noDone},
	{"no-finish", "tokens=8 interval=0s", "is answer with nothing but its end (OpenAI: [DONE])", (*player).noFinish},
	{"linger", "tokens=8 interval=0s", "is no-done that keeps the connection open", (*player).linger},
	{"json", "type=api_error", "answers 200 with an error object that is no stream", (*player).json},
	{"page", "", "answers 200 with a web page", (*player).page},
	{"STATUS", "retry_after=", "answers with that status, 300 to 599, and an error that repeats the key: 401, 429?retry_after=2", nil},
}

// Help lists the scripts, one a line.
func Help() string {
	var b strings.Builder
	for _, s := range Scripts {
		_, _ = fmt.Fprintf(&b, "%-13s %s\n", s.Name, s.Help)
		if s.Args != "" {
			_, _ = fmt.Fprintf(&b, "%-13s   %s\n", "", s.Args)
		}
	}
	return b.String()
}

func (p *player) answer() {
	if text := p.args.Get("text"); text != "" {
		p.speak(text)
		return
	}
	p.finished("stop")
}

func (p *player) echo() { p.speak(p.asked.Last()) }

// speak says a text, word by word.
func (p *player) speak(text string) {
	interval := p.duration("interval")
	if !p.begin() {
		return
	}
	for i, word := range strings.SplitAfter(text, " ") {
		if i > 0 && !p.pause(interval) || !p.token(word) {
			return
		}
	}
	p.finish("stop")
}

func (p *player) finished(reason string) {
	_ = p.begin() && p.words(p.number("tokens")) && p.finish(reason)
}

func (p *player) tool() {
	_ = p.begin() && p.words(p.number("tokens")) && p.write(p.d.tool()) && p.finish("tool_calls")
}

func (p *player) thinking() {
	if !p.begin() {
		return
	}
	interval := p.duration("interval")
	for range p.number("thoughts") {
		if !p.write(p.d.thought("hm, ")) || !p.pause(interval) {
			return
		}
	}
	_ = p.words(p.number("tokens")) && p.finish("stop")
}

func (p *player) held() {
	_ = p.after() && p.told() && p.wordsAfter(p.number("after"), p.number("tokens")) && p.finish("stop")
}

func (p *player) endless() {
	interval := p.duration("interval")
	if !p.begin() {
		return
	}
	for i := 1; p.token(word(i)) && p.pause(interval); i++ {
	}
}

func (p *player) split() {
	if !p.begin() {
		return
	}
	event := p.d.token(quote("🙂"))
	middle := strings.Index(event, "🙂") + 2
	_ = p.write(event[:middle]) && p.write(event[middle:]) &&
		p.raw("\"\xf0\x9f\"") && p.raw("\"\x99\x82\"") &&
		p.raw(`"\ud83d"`) && p.raw(`"\ude42"`) && p.raw(`"\ud83d\ude42"`) &&
		p.raw("\"\xc3\"") && p.raw("\"\xa9\"") && p.finish("stop")
}

func (p *player) invalid() {
	_ = p.begin() && p.raw("\"a\xffb\"") && p.raw(`"\ud83d"`) && p.raw(`"c"`) && p.raw("\"\xf0\x9f\"") && p.finish("stop")
}

func (p *player) malformed() {
	_ = p.after() && p.write(data(`{"choices":[{"delta":{"content":"oh`)) && p.token("never said") && p.finish("stop")
}

func (p *player) fault() {
	if p.after() {
		p.write(p.d.fault(p.args.Get("type"), "something about "+p.asked.Key()))
	}
}

func (p *player) cut() {
	if p.after() && p.args.Get("clean") != "true" {
		panic(http.ErrAbortHandler)
	}
}

func (p *player) cutLine() {
	whole := p.d.token(quote("never said"))
	if p.after() && p.write(whole[:len(whole)-10]) {
		panic(http.ErrAbortHandler)
	}
}

func (p *player) stall() {
	if p.after() {
		p.gone()
	}
}

func (p *player) slow() {
	p.open()
	if p.args.Get("headers") != "late" && !p.write("") || !p.pause(p.duration("delay")) {
		return
	}
	_ = p.write(p.d.begin()) && p.words(p.number("tokens")) && p.finish("stop")
}

func (p *player) keepAlive() {
	if !p.begin() {
		return
	}
	n, interval := p.number("n"), p.duration("interval")
	for i := 0; n == 0 || i < n; i++ {
		if !p.write(": still here\n\n"+p.d.token(`""`)) || !p.pause(interval) {
			return
		}
	}
	_ = p.words(p.number("tokens")) && p.finish("stop")
}

func (p *player) huge() {
	if !p.after() || !p.write("data: ") {
		return
	}
	piece := strings.Repeat("x", 64<<10)
	for range hugeLine / len(piece) {
		if !p.write(piece) {
			return
		}
	}
	_ = p.write("\n\n") && p.finish("stop")
}

func (p *player) noDone() {
	_ = p.begin() && p.words(p.number("tokens")) && p.write(p.d.finish("stop", InputTokens, p.said))
}

func (p *player) noFinish() {
	_ = p.begin() && p.words(p.number("tokens")) && p.write(p.d.done())
}

func (p *player) linger() {
	if p.noDone(); p.r.Context().Err() == nil {
		p.gone()
	}
}

func (p *player) json() {
	p.refuse(http.StatusOK, p.args.Get("type"), "no stream today")
}

func (p *player) page() {
	p.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p.write("<!doctype html><title>Welcome</title><p>Please log in to this network.</p>")
}
