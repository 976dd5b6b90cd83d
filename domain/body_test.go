package domain_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

func TestBodyIsWhatWasEncoded(t *testing.T) {
	t.Parallel()
	for _, body := range []struct{ content, meta string }{
		{"", ""},
		{"hello", ""},
		{"", `{}`},
		{"a\x00b \u2028 \U0001F600 \xff", `{"a":[1,2,{"b":null}]}`},
		{strings.Repeat("x", domain.MaxMessageCeiling), strings.Repeat("y", domain.MaxObject)},
	} {
		raw := domain.EncodeBody([]byte("before"), body.content, []byte(body.meta))
		content, meta, err := domain.DecodeBody(raw[len("before"):])
		if err != nil || content != body.content || string(meta) != body.meta {
			t.Errorf("got %.40q, %.40q, %v; want %.40q, %.40q", content, meta, err, body.content, body.meta)
		}
		if body.meta == "" && meta != nil {
			t.Errorf("an absent meta came back as %q, want nil", meta)
		}
	}
}

func TestBodyThatIsDamagedOrEncryptedIsRefused(t *testing.T) {
	t.Parallel()
	whole := domain.EncodeBody(nil, "hello", []byte(`{"a":1}`))
	damaged := map[string][]byte{
		"nothing":           nil,
		"another format":    append([]byte{2}, whole[1:]...),
		"an unknown key":    append([]byte{1, 5}, whole[2:]...),
		"no key":            {1},
		"an endless key":    append([]byte{1}, bytes.Repeat([]byte{0x80}, 12)...),
		"no length":         {1, 0},
		"a cut content":     whole[:4],
		"a length too long": {1, 0, 200, 1, 'x'},
		"a huge length":     {1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'x'},
	}
	for name, raw := range damaged {
		if content, meta, err := domain.DecodeBody(raw); !errors.Is(err, domain.ErrBody) {
			t.Errorf("%s: got %q, %q, %v, want ErrBody", name, content, meta, err)
		}
	}
}

func TestMetaOfABodyCannotBeGrownOverItsNeighbour(t *testing.T) {
	t.Parallel()
	raw := domain.EncodeBody(nil, "hello", []byte(`{}`))
	raw = append(raw, '!')
	_, meta, err := domain.DecodeBody(raw[:len(raw)-1])
	if err != nil {
		t.Fatal(err)
	}
	if _ = append(meta, '?'); raw[len(raw)-1] != '!' {
		t.Error("appending to meta wrote over the byte behind the body")
	}
}

func FuzzDecodeBody(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(domain.EncodeBody(nil, "hello", []byte(`{"a":1}`)))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		content, meta, err := domain.DecodeBody(raw)
		if err != nil {
			return
		}
		again, metaAgain, err := domain.DecodeBody(domain.EncodeBody(nil, content, meta))
		if err != nil || again != content || !bytes.Equal(metaAgain, meta) {
			t.Errorf("%x decodes to %q, %q, which decodes to %q, %q, %v", raw, content, meta, again, metaAgain, err)
		}
	})
}
