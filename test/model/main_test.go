package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestTheCommandPrintsItsAddressAndServes(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	out, to := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, to, io.Discard) }()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(strings.TrimSpace(url)+"/messages", "application/json",
		strings.NewReader(`{"model":"echo","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), `"text":"Hello"`) {
		t.Errorf("got %s", text)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHelpListsTheScripts(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	if err := run(t.Context(), []string{"-help"}, io.Discard, &said); err != nil || !strings.Contains(said.String(), "split-utf8") {
		t.Errorf("got %v, %s", err, said.String())
	}
	if err := run(t.Context(), []string{"-addr", "nowhere"}, io.Discard, io.Discard); err == nil {
		t.Error("an address that is none is listened at")
	}
}
