package api_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type frame struct {
	Type      string     `json:"type"`
	RequestID string     `json:"request_id"`
	RoomID    string     `json:"room_id"`
	Content   string     `json:"content"`
	Meta      api.Object `json:"meta"`
	ClientID  string     `json:"client_id"`
	ReplyTo   api.Text   `json:"reply_to"`
	Seq       *api.Int   `json:"seq"`
	Rooms     []place    `json:"rooms"`
	Names     []string   `json:"names"`
	Data      *frame     `json:"data"`
}

type place struct {
	RoomID string  `json:"room_id"`
	Rev    api.Int `json:"rev"`
}

func TestDecodeReadsOneObjectAndIgnoresUnknownNames(t *testing.T) {
	t.Parallel()
	seq := api.Int(9007199254740991)
	for in, want := range map[string]frame{
		`{}`: {},
		` {"type":"ack","seq":9007199254740991,"rooms":[{"room_id":"r","rev":3}]} ` + "\n": {
			Type: "ack", Seq: &seq, Rooms: []place{{"r", 3}},
		},
		`{"unknown":{"a":[1,{"b":null}]},"type":"x","rooms":[{"room_id":"r","new":1}],"data":{"type":"y","z":[]}}`: {
			Type: "x", Rooms: []place{{RoomID: "r"}}, Data: &frame{Type: "y"},
		},
		`{"type":null,"meta":null,"seq":null,"rooms":null,"data":null,"reply_to":null}`: {},
		`{"reply_to":"\u00e9 \"x\""}`:                  {ReplyTo: `é "x"`},
		`{"content":"\\u0000 \\\\u0000 \ud83d\ude00"}`: {Content: `\u0000 \\u0000 😀`},
		`{"meta": { "a" : [ 1 , "x \" y\\" ] } }`:      {Meta: api.Object(`{"a":[1,"x \" y\\"]}`)},
		`{"meta":" {\"a\" : \"\\u00e9\"}\n"}`:          {Meta: api.Object(`{"a":"\u00e9"}`)},
	} {
		var got frame
		if err := api.Decode([]byte(in), &got); err != nil {
			t.Errorf("Decode(%s): %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Decode(%s) (-want +got):\n%s", in, diff)
		}
	}
}

func TestDecodeRefusesWhatTwoReadersMayTakeDifferently(t *testing.T) {
	t.Parallel()
	for in, field := range map[string]string{
		``:                                      "",
		`  `:                                    "",
		`null`:                                  "",
		`[]`:                                    "",
		`"x"`:                                   "",
		`1`:                                     "",
		`{`:                                     "",
		`{"a":1`:                                "",
		`{"type":`:                              "",
		`{}{}`:                                  "",
		`{} x`:                                  "",
		`{"a":NaN}`:                             "",
		`{"a":1,}`:                              "",
		`{/**/}`:                                "",
		`{'a':1}`:                               "",
		"\xef\xbb\xbf{}":                        "",
		"{\x00}":                                "",
		"{\"type\":\"\x00\"}":                   "",
		"{\"type\":\"a\nb\"}":                   "",
		"\xff\xfe{\x00}\x00":                    "",
		"{\"type\":\"\xff\"}":                   "",
		"{\"\xff\":1}":                          "",
		"{\"x\":{\"y\":\"\xc3\"}}":              "",
		`{"type":"\ud800"}`:                     "",
		`{"type":"\udc00\ud800"}`:               "",
		`{"x":"\ud800x"}`:                       "",
		`{"type":"\u0000"}`:                     "",
		`{"\u0000":1}`:                          "",
		`{"type":"\\\u0000"}`:                   "",
		`{"meta":{"a":"\u0000"}}`:               "",
		`{"type":"a","type":"a"}`:               "type",
		`{"x":1,"x":2}`:                         "x",
		`{"x":{"y":1,"y":2}}`:                   "x.y",
		`{"type":"a","t\u0079pe":"b"}`:          "type",
		`{"meta":{"a":1,"a":2}}`:                "meta.a",
		`{"Type":"a"}`:                          "Type",
		`{"type":"a","TYPE":"b"}`:               "TYPE",
		`{"x":1,"room_ID":"a"}`:                 "room_ID",
		`{"rooms":[{"room_id":"a"},{"REV":1}]}`: "rooms.1.REV",
		`{"data":{"Content":"a"}}`:              "data.Content",
		`{"type":1}`:                            "type",
		`{"type":{}}`:                           "type",
		`{"rooms":{}}`:                          "rooms",
		`{"rooms":[1]}`:                         "rooms",
		`{"names":["a",5]}`:                     "names",
		`{"7":1,"7":2}`:                         "7",
		`{"reply_to":""}`:                       "reply_to",
		`{"reply_to":5}`:                        "reply_to",
		`{"reply_to":["a"]}`:                    "reply_to",
		`{"data":{"reply_to":"\ud800"}}`:        "",
		`{"data":[]}`:                           "data",
		`{"data":{"content":true}}`:             "data.content",
		`{"meta":[]}`:                           "meta",
		`{"meta":1}`:                            "meta",
		`{"meta":"x"}`:                          "meta",
		`{"meta":""}`:                           "meta",
		`{"meta":"[]"}`:                         "meta",
		`{"meta":"{} {}"}`:                      "meta",
		`{"meta":"{\"a\":1,\"a\":2}"}`:          "meta",
		`{"meta":"{\"a\":\"\\u0000\"}"}`:        "meta",
		`{"meta":"{\"a\":\"\\ud800\"}"}`:        "meta",
		`{"x":1,"meta":"x"}`:                    "meta",
		`{"seq":1e3}`:                           "seq",
		`{"seq":1.0}`:                           "seq",
		`{"seq":1.5}`:                           "seq",
		`{"seq":-1}`:                            "seq",
		`{"seq":-0}`:                            "seq",
		`{"seq":"5"}`:                           "seq",
		`{"seq":true}`:                          "seq",
		`{"seq":[]}`:                            "seq",
		`{"seq":9007199254740992}`:              "seq",
		`{"seq":9007199254740993}`:              "seq",
		`{"seq":18446744073709551617}`:          "seq",
		`{"seq":1e400}`:                         "seq",
		`{"rooms":[{"rev":-1}]}`:                "rooms.0.rev",
		strings.Repeat(`{"x":`, 100_000):        "",
	} {
		var v frame
		err := api.Decode([]byte(in), &v)
		var got *domain.Error
		if !errors.As(err, &got) {
			t.Errorf("Decode(%.60q) = %v, want a *domain.Error", in, err)
			continue
		}
		if got.Code != domain.CodeValidation || got.Field != field || got.Message == "" {
			t.Errorf("Decode(%.60q) = %s %q field %q, want VALIDATION_ERROR field %q", in, got.Code, got.Message, got.Field, field)
		}
	}
}

func TestDecodeSaysWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		``:                         "the body is empty: send one JSON object",
		`[1]`:                      "send one JSON object, {…}",
		`{"type":5}`:               "type must be a string",
		`{"rooms":5}`:              "rooms must be an array",
		`{"rooms":[5]}`:            "rooms.0 must be an object",
		`{"names":[5]}`:            "names.0 must be a string",
		`{"reply_to":5}`:           "reply_to must be a string",
		`{"reply_to":""}`:          "reply_to must not be empty: leave it out instead",
		`{"meta":5}`:               "meta must be a JSON object",
		`{"seq":"5"}`:              "seq must be an integer from 0 to 9007199254740991",
		`{"RoomID":1,"Room_Id":1}`: "Room_Id is spelled room_id",
		`{"type":"a","type":"b"}`:  "the name type appears twice",
	} {
		var v frame
		var got *domain.Error
		if err := api.Decode([]byte(in), &v); !errors.As(err, &got) || got.Message != want {
			t.Errorf("Decode(%s) = %v, want %q", in, err, want)
		}
	}
}

func TestDecodeErrorsBoundWhatTheyRepeat(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("é", 5000)
	var v frame
	var got *domain.Error
	err := api.Decode([]byte(`{"`+name+`":1,"`+name+`":2}`), &v)
	if !errors.As(err, &got) || len(got.Field) > 80 || len(got.Message) > 200 {
		t.Errorf("field of %d bytes, message of %d: %v", len(got.Field), len(got.Message), err)
	}
}

type patch struct {
	Name     api.Field[*string]    `json:"name"`
	Metadata api.Field[api.Object] `json:"metadata"`
}

func TestAFieldOfAChangeTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	name := "n"
	for in, want := range map[string]patch{
		`{}`:                              {},
		`{"unknown":1}`:                   {},
		`{"name":null}`:                   {Name: api.Field[*string]{Set: true}},
		`{"name":"n"}`:                    {Name: api.Field[*string]{Set: true, Value: &name}},
		`{"metadata":null}`:               {Metadata: api.Field[api.Object]{Set: true}},
		`{"metadata":{ "a":1}}`:           {Metadata: api.Field[api.Object]{Set: true, Value: api.Object(`{"a":1}`)}},
		`{"metadata":"{\"a\":1}","x":{}}`: {Metadata: api.Field[api.Object]{Set: true, Value: api.Object(`{"a":1}`)}},
	} {
		var got patch
		if err := api.Decode([]byte(in), &got); err != nil {
			t.Errorf("Decode(%s): %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Decode(%s) (-want +got):\n%s", in, diff)
		}
	}
	for in, want := range map[string]string{
		`{"name":5}`:                 "name must be a string",
		`{"name":{"a":1}}`:           "name must be a string",
		`{"metadata":[]}`:            "metadata must be a JSON object",
		`{"x":1,"metadata":5}`:       "metadata must be a JSON object",
		`{"Name":"n"}`:               "Name is spelled name",
		`{"name":"a","name":null}`:   "the name name appears twice",
		`{"metadata":{"a":1,"a":2}}`: "the name a appears twice",
	} {
		var v patch
		var got *domain.Error
		if err := api.Decode([]byte(in), &v); !errors.As(err, &got) || got.Message != want {
			t.Errorf("Decode(%s) = %v, want %q", in, err, want)
		}
	}
}

// FuzzDecodeIsStricterThanEncodingJSON: whatever Decode accepts, encoding/json reads the same way.
func FuzzDecodeIsStricterThanEncodingJSON(f *testing.F) {
	for _, seed := range []string{
		string(sendFrame), `{"seq":5,"rooms":[{"room_id":"a","rev":1}]}`, `{"data":{"type":"x"},"y":[1,2,{"z":"\u00e9\ud83d\ude00"}]}`,
		`{"Type":1}`, `{"meta":"{\"a\":1}"}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"seq":1e3}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	type plainFrame struct {
		Type, RequestID, RoomID, Content, ClientID string
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got frame
		if api.Decode(data, &got) != nil {
			return
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(data, &names); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		text := func(name string) (s string) {
			if raw, ok := names[name]; ok && json.Unmarshal(raw, &s) != nil {
				t.Fatalf("%s is no string: %s", name, raw)
			}
			return s
		}
		want := plainFrame{text("type"), text("request_id"), text("room_id"), text("content"), text("client_id")}
		if have := (plainFrame{got.Type, got.RequestID, got.RoomID, got.Content, got.ClientID}); have != want {
			t.Fatalf("got %+v, want %+v", have, want)
		}
		for _, s := range []string{got.Type, got.Content, string(got.Meta)} {
			if strings.ContainsRune(s, 0) {
				t.Fatalf("NUL in %q", s)
			}
		}
		if got.Meta != nil && !json.Valid(got.Meta) {
			t.Fatalf("meta %q is not JSON", got.Meta)
		}
	})
}

var sendFrame = []byte(`{"type":"send_message","request_id":"r-123456","room_id":"room_0190d5b2-7c1e-7a3b-9f00-0123456789ab",` +
	`"content":"` + strings.Repeat("hello world ", 16) + `","meta":{"a":1,"tags":["x","y"]},` +
	`"client_id":"0190d5b2-7c1e-7a3b-9f00-0123456789ab"}`)

func BenchmarkDecodeSendMessage(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var v frame
		if err := api.Decode(sendFrame, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	ack := []byte(`{"type":"ack","room_id":"room_0190d5b2-7c1e-7a3b-9f00-0123456789ab","seq":1234}`)
	b.ReportAllocs()
	for b.Loop() {
		var v frame
		if err := api.Decode(ack, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeUnknownName(b *testing.B) {
	in := []byte(strings.Replace(string(sendFrame), "{", `{"sender_id":"alice",`, 1))
	b.ReportAllocs()
	for b.Loop() {
		var v frame
		if err := api.Decode(in, &v); err != nil {
			b.Fatal(err)
		}
	}
}
