package blackbox

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// dialToken opens a socket with ?token=, a JWT or a ticket.
func dialToken(s *harness.Server, token string) (*harness.Conn, error) {
	return harness.Dial(s.Base, harness.DialOptions{Query: url.Values{"token": {token}}})
}

// opened is a socket that a test has opened, behind its replay.
func opened(t *testing.T, c *harness.Conn, err error) *harness.Conn {
	t.Helper()
	harness.Check(t, err)
	t.Cleanup(c.Drop)
	harness.Must(c.AwaitType("sync.complete"))(t)
	return c
}

// wantAlive fails unless a socket answers.
func wantAlive(t *testing.T, what string, c *harness.Conn) {
	t.Helper()
	if f, err := c.Request(map[string]any{"type": "ping"}); err != nil || f.Type != "pong" {
		t.Errorf("%s: %v %s, want a socket that lives", what, err, f.Raw)
	}
}

// wantClosed fails unless the server closes a socket with a code in time.
func wantClosed(t *testing.T, what string, c *harness.Conn, code int, limit time.Duration) {
	t.Helper()
	if got, err := c.CloseCode(limit); err != nil || got != code {
		t.Errorf("%s: close code %d, %v, want %d within %s", what, got, err, code, limit)
	}
}

// The promises about time that these tests hold the server to.
const (
	revokedWithin = 10 * time.Second // from a revocation to the end of its sockets: twice what is promised, beside all other tests
	expiredWithin = 15 * time.Second // far more than the sweep of sockets takes, and less than the leeway of tokens
)

func TestATicketOpensOneSocketHoweverManyTry(t *testing.T) {
	t.Parallel()
	const tries = 50 // one less than an address may show of what is no credential
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	ticket := harness.Must(s.Ticket(tenant.User("alice").Client))(t)
	conns, errs := make([]*harness.Conn, tries), make([]error, tries)
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() { conns[i], errs[i] = dialToken(s, ticket) })
	}
	wg.Wait()
	count := 0
	for i, c := range conns {
		if errs[i] != nil {
			wantRefused(t, "a ticket that somebody else had", errs[i], http.StatusUnauthorized)
			continue
		}
		count++
		if who := harness.Must(c.AwaitType("connected"))(t).UserID; who != "alice" {
			t.Errorf("alice's ticket opened a socket for %s", who)
		}
		c.Close()
	}
	if count != 1 {
		t.Errorf("%d tries with one ticket opened %d sockets, want one", tries, count)
	}
	_, err := dialToken(s, ticket)
	wantRefused(t, "a used ticket", err, http.StatusUnauthorized)
}

func TestATicketIsWhatItSays(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	var made struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	alice := tenant.User("alice")
	harness.Must(alice.Call(http.MethodPost, "/ws/token", nil, http.StatusOK, &made))(t)
	s.Secret(made.Token)
	if len(made.Token) != len("wst_")+43 || made.Token[:4] != "wst_" || made.ExpiresIn != 60 {
		t.Errorf("a ticket of %d characters for %d s, want wst_ and 43 for 60", len(made.Token), made.ExpiresIn)
	}
	for what, c := range map[string]*harness.Client{
		"as bearer": s.Anonymous().With("Authorization", "Bearer "+made.Token), "as a key": s.Anonymous().With("X-API-Key", made.Token),
	} {
		if _, err := c.Call(http.MethodGet, "/rooms", nil, http.StatusUnauthorized, nil); err != nil {
			t.Errorf("a ticket %s over REST: %v", what, err)
		}
	}
	refused := harness.Must(alice.With("Idempotency-Key", "k").Call(http.MethodPost, "/ws/token", nil, http.StatusBadRequest, nil))(t)
	wantProblem(t, refused, "VALIDATION_ERROR", "Idempotency-Key")
	query := url.Values{"token": {made.Token}, "api_key": {tenant.Key}}
	_, err := harness.Dial(s.Base, harness.DialOptions{Query: query})
	wantRefused(t, "a ticket beside a key", err, http.StatusUnauthorized)
	c, err := dialToken(s, made.Token) // none of that has used it up
	opened(t, c, err)
}

func TestATicketEndsWithTheCredentialThatMadeIt(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	id, second, err := tenant.NewKey("second")
	harness.Check(t, err)
	signer := harness.Must(tenant.NewSigner())(t)
	byKey, byToken := second.User("alice"), harness.Must(signer.User("bob"))(t)
	used, usedErr := dialToken(s, harness.Must(s.Ticket(byKey.Client))(t))
	open := opened(t, used, usedErr)
	used, usedErr = dialToken(s, harness.Must(s.Ticket(byToken.Client))(t))
	openToo := opened(t, used, usedErr)
	kept := []string{harness.Must(s.Ticket(byKey.Client))(t), harness.Must(s.Ticket(byToken.Client))(t)}

	harness.Check(t, tenant.RevokeKey(id))
	harness.Check(t, signer.Revoke())
	wantClosed(t, "the socket of a ticket whose key was revoked", open, 4401, revokedWithin)
	wantClosed(t, "the socket of a ticket whose signing key was revoked", openToo, 4401, revokedWithin)
	for _, ticket := range kept {
		_, err := dialToken(s, ticket)
		wantRefused(t, "a ticket whose credential was revoked", err, http.StatusUnauthorized)
	}
}

func TestATicketInheritsTheEndOfItsToken(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	signer := harness.Must(tenant.NewSigner())(t)
	token := harness.Must(signer.Token("alice", 4*time.Second))(t)
	short := s.Anonymous().With("Authorization", "Bearer "+token)
	ticketed, err := dialToken(s, harness.Must(s.Ticket(short))(t))
	c := opened(t, ticketed, err)
	expiring := harness.Must(c.AwaitType("token.expiring"))(t)
	at := harness.Must(time.Parse(time.RFC3339Nano, expiring.ExpiresAt))(t)
	if left := time.Until(at); left > 5*time.Second {
		t.Errorf("a ticket of a token of 4 s ends in %s", left)
	}
	wantClosed(t, "the socket of a ticket whose token expired", c, 4401, expiredWithin)
	if early := time.Until(at); early > time.Second {
		t.Errorf("closed %s before the token expired", early)
	}
}

func TestATokenMayComeAsASubprotocol(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	signer := harness.Must(tenant.NewSigner())(t)
	token := harness.Must(signer.Token("alice", time.Hour))(t)
	ticket := harness.Must(s.Ticket(tenant.User("alice").Client))(t)
	for what, credential := range map[string]string{"a token": token, "a ticket": ticket} {
		offered, err := harness.Dial(s.Base, harness.DialOptions{Protocols: []string{"chatapi.v1", "bearer." + credential}})
		c := opened(t, offered, err)
		if c.Subprotocol() != "chatapi.v1" {
			t.Errorf("%s as a subprotocol: answered with %q, want chatapi.v1", what, c.Subprotocol())
		}
		if who := harness.Must(c.AwaitType("connected"))(t).UserID; who != "alice" {
			t.Errorf("%s of alice opened a socket for %s", what, who)
		}
		c.Close()
	}
	_, err := harness.Dial(s.Base, harness.DialOptions{Protocols: []string{"chatapi.v1", "bearer.nonsense"}})
	wantRefused(t, "nonsense as a subprotocol", err, http.StatusUnauthorized)
	_, err = harness.Dial(s.Base, harness.DialOptions{Protocols: []string{"chatapi.v1"}})
	wantRefused(t, "no token as a subprotocol", err, http.StatusUnauthorized)
}

func TestASocketIsToldOfItsEndAndRenewedInPlace(t *testing.T) {
	t.Parallel()
	const life = 6 * time.Second
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	signer := harness.Must(tenant.NewSigner())(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	dialed := func() *harness.Conn {
		c, err := dialToken(s, harness.Must(signer.Token("alice", life))(t))
		return opened(t, c, err)
	}
	left, byToken, byTicket := dialed(), dialed(), dialed()
	expiring := harness.Must(left.AwaitType("token.expiring"))(t)
	end := harness.Must(time.Parse(time.RFC3339Nano, expiring.ExpiresAt))(t)
	if until := time.Until(end); until > life+time.Second || until < -life {
		t.Errorf("told of an end in %s, the token lives %s", until, life)
	}

	long := harness.Must(signer.Token("alice", time.Hour))(t)
	renewed := harness.Must(byToken.Auth(long))(t)
	var told struct {
		ExpiresAt string `json:"expires_at"`
	}
	harness.Check(t, (&harness.Response{Body: renewed.Data}).Decode(&told))
	if at, err := time.Parse(time.RFC3339Nano, told.ExpiresAt); err != nil || time.Until(at) < 50*time.Minute {
		t.Errorf("renewed for an hour: %s, %v", renewed.Raw, err)
	}
	if f := harness.Must(byTicket.Auth(harness.Must(s.Ticket(alice.Client))(t)))(t); f.Type != "reply" {
		t.Errorf("renewed by a ticket: %s", f.Raw)
	}

	wantClosed(t, "a socket whose token expired", left, 4401, life+expiredWithin)
	if early := time.Until(end); early > time.Second {
		t.Errorf("closed %s before the token expired", early)
	}
	<-time.After(time.Until(end.Add(2 * time.Second))) // the sweep that ended the other has passed these
	for what, c := range map[string]*harness.Conn{"renewed by a token": byToken, "renewed by a ticket": byTicket} {
		wantAlive(t, what, c)
		if _, _, err := c.Send(room, harness.Body("still here"), ""); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOnlyTheSameUserRenewsASocket(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	others := harness.Must(s.NewTenant("others"))(t)
	signer, theirs := harness.Must(tenant.NewSigner())(t), harness.Must(others.NewSigner())(t)
	first, err := dialToken(s, harness.Must(signer.Token("alice", time.Hour))(t))
	c := opened(t, first, err)
	for what, token := range map[string]string{
		"another user's":    harness.Must(signer.Token("bob", time.Hour))(t),
		"another tenant's":  harness.Must(theirs.Token("alice", time.Hour))(t),
		"an expired one":    harness.Must(signer.Token("alice", -time.Hour))(t),
		"the API key":       tenant.Key,
		"another's ticket":  harness.Must(s.Ticket(tenant.User("bob").Client))(t),
		"one without a kid": harness.Must(s.Token("alice"))(t),
	} {
		if f := harness.Must(c.Auth(token))(t); f.Type != "error" || f.Code != "AUTHENTICATION_ERROR" {
			t.Errorf("renewed by %s: %s, want AUTHENTICATION_ERROR", what, f.Raw)
		}
		wantAlive(t, "after "+what, c)
	}
}

// TestARenewedSocketStandsOnItsNewCredential: the end of the old one does not touch it, that of the new one ends it.
func TestARenewedSocketStandsOnItsNewCredential(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	before, after := harness.Must(tenant.NewSigner())(t), harness.Must(tenant.NewSigner())(t)
	dialed := func() *harness.Conn {
		c, err := dialToken(s, harness.Must(before.Token("alice", time.Hour))(t))
		return opened(t, c, err)
	}
	stayed, renewed := dialed(), dialed()
	if f := harness.Must(renewed.Auth(harness.Must(after.Token("alice", time.Hour))(t)))(t); f.Type != "reply" {
		t.Fatalf("renewed: %s", f.Raw)
	}
	harness.Check(t, before.Revoke())
	wantClosed(t, "a socket on the old key", stayed, 4401, revokedWithin)
	wantAlive(t, "a socket on the new key", renewed)
	old := harness.Must(before.User("alice"))(t)
	soon(t, "the old key is nothing any more, at any node", func() bool {
		return !slices.ContainsFunc(s.Nodes, func(n *harness.Node) bool {
			return harness.Must(old.At(n).Do(t.Context(), http.MethodGet, "/rooms", nil))(t).Status != http.StatusUnauthorized
		})
	})
	if f := harness.Must(renewed.Auth(harness.Must(before.Token("alice", time.Hour))(t)))(t); f.Code != "AUTHENTICATION_ERROR" {
		t.Errorf("renewed by a revoked key: %s", f.Raw)
	}
	harness.Check(t, after.Revoke())
	wantClosed(t, "a socket on the new key, revoked", renewed, 4401, revokedWithin)
}

// TestARevocationThatRacesWithRenewalsLeavesNoSocket renews sockets at the moment the key goes.
func TestARevocationThatRacesWithRenewalsLeavesNoSocket(t *testing.T) {
	t.Parallel()
	const sockets = 20
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"WS_MAX_CONNECTIONS_PER_USER": "100"}})
	s := tenant.Server()
	first, second := harness.Must(tenant.NewSigner())(t), harness.Must(tenant.NewSigner())(t)
	token := harness.Must(second.Token("alice", time.Hour))(t)
	conns := make([]*harness.Conn, sockets)
	for i := range conns {
		c, err := dialToken(s, harness.Must(first.Token("alice", time.Hour))(t))
		conns[i] = opened(t, c, err)
	}
	var wg sync.WaitGroup
	var revoked error
	renewed := make([]bool, sockets)
	for i, c := range conns {
		wg.Go(func() {
			f, err := c.Auth(token)
			renewed[i] = err != nil || f.Type == "reply" // else it stands on the first key, which lives
		})
	}
	wg.Go(func() { revoked = second.Revoke() })
	wg.Wait()
	harness.Check(t, errors.Join(revoked))
	for i, c := range conns {
		if renewed[i] {
			wantClosed(t, "a socket renewed by a key that is revoked", c, 4401, revokedWithin)
		} else {
			wantAlive(t, "a socket that was not renewed", c)
		}
	}
}
