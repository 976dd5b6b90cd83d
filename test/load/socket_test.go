package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// served is a server's text frame: not masked.
func served(payload string) []byte {
	head := []byte{0x81, byte(len(payload))}
	if len(payload) > 125 {
		head = []byte{0x81, 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	return append(head, payload...)
}

func TestFramesAreTheSameHoweverTheStreamIsCut(t *testing.T) {
	t.Parallel()
	want := []string{"a", strings.Repeat("b", 125), strings.Repeat("c", 126), strings.Repeat("d", 300), "e"}
	var stream []byte
	for _, payload := range want {
		stream = append(stream, served(payload)...)
	}
	for cut := range stream {
		var s socket
		var got []string
		keep := func(p []byte) bool { got = append(got, string(p)); return true }
		s.frames(stream[:cut], keep)
		s.frames(append(slices.Clone(s.rest), stream[cut:]...), keep)
		if !slices.Equal(got, want) || len(s.rest) != 0 {
			t.Fatalf("cut at %d: got %d frames and %d bytes left, want %d and 0", cut, len(got), len(s.rest), len(want))
		}
	}
}

func TestAReaderThatStopsKeepsTheRest(t *testing.T) {
	t.Parallel()
	var s socket
	s.frames(append(served("first"), served("second")...), func([]byte) bool { return false })
	if want := served("second"); !bytes.Equal(s.rest, want) {
		t.Errorf("got %q left, want %q", s.rest, want)
	}
}

func TestAStampTravelsInTheMessage(t *testing.T) {
	t.Parallel()
	frame, at := sendFrame("room_x")
	sent := time.Now()
	stamp(frame, at, sent)
	event := fmt.Sprintf(`{"type":"message","seq":1,"content":"%s"}`, frame[at:at+contentSize])
	got, ok := age([]byte(event), sent.Add(3*time.Millisecond))
	if !ok || got != 3*time.Millisecond {
		t.Errorf("age: got %s (%v), want 3ms", got, ok)
	}
	if _, ok := age([]byte(`{"type":"message","content":"short"}`), sent); ok {
		t.Error("a message without a stamp has an age")
	}
}
