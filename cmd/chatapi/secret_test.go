package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestASecretPrintsAsRedactedWhateverPrintsIt(t *testing.T) {
	t.Parallel()
	s := Secret{"hunter2"}
	held := struct {
		Key Secret
		Ptr *Secret
	}{s, &s}
	encoded, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("x", "secret", s, "pointer", &s, "held", held, "group", slog.GroupValue(slog.Any("s", s)))
	for _, printed := range []string{
		s.String(), fmt.Sprint(s), fmt.Sprint(held), fmt.Sprintf("%s %v %+v %#v %q %x %d %T", s, s, s, s, s, s, s, s),
		fmt.Sprintf("%#v %+v", held, held),
		fmt.Sprintln(&s), fmt.Errorf("x: %v", s).Error(), string(encoded), logged.String(),
	} {
		if strings.Contains(printed, "hunter2") || strings.Contains(printed, fmt.Sprintf("%x",
			"hunter2")) || !strings.Contains(printed, redacted) {
			t.Errorf("printed as %s", printed)
		}
	}
	if s.Reveal() != "hunter2" || !s.IsSet() || (Secret{}).IsSet() {
		t.Error("the secret itself is lost")
	}
}

func TestCredentialsAreCleanedFromLogs(t *testing.T) {
	t.Parallel()
	key, jwt := "sk_sLW-TGj4KB7dAc1bN42J5b3vTFKLbW_L-DIRK0gPqqc",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	ticket, hook, master := "wst_sLW-TGj4KB7dAc1bN42J5b3vTFKLbW_L", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", longSecret
	cfg := &Config{LogFormat: "json", MasterAPIKey: Secret{master}}
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		cfg.LogFormat = format
		log := newLogger(cfg, &out)
		log.Info("a slip with "+key, "url", "/ws?api_key="+key+"&token="+jwt, "error", fmt.Errorf("bad token %s", jwt),
			"struct", struct{ A, B string }{ticket, hook}, "master", "key="+master, slog.Group("g", "list", []string{key, jwt}))
		for _, secret := range []string{key, jwt, ticket, hook, master, "c2lnbmF0dXJl", "eyJzdWIi"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s: %s is in %s", format, secret, out.String())
			}
		}
		if n := strings.Count(out.String(), redacted); n < 8 {
			t.Errorf("%s: %d redactions in %s", format, n, out.String())
		}
	}
}

func TestOrdinaryLinesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	line := []byte("task_id=5 risk_level=high sk_short eyJust wst_ whsec_ key_01a1fd8f-7fb6-7e65-83ee-b9e75b7bb04b\n")
	n, err := (&redactor{to: &out}).Write(line)
	if err != nil || n != len(line) || !bytes.Equal(out.Bytes(), line) {
		t.Errorf("got %q, %d, %v", out.Bytes(), n, err)
	}
}
