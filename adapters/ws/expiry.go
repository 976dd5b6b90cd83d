package ws

import (
	"context"
	"math"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// A socket lives as long as the credential it stands on. The sweeper tells the client a minute before that ends, and ends
// the socket with it, unless an auth frame has put another credential in its place. Whether the end has come is decided
// under the session's mu: a renewal in the last moment either counts or comes too late, never both.

// standOn lets the socket live until a credential expires; false when its own end has begun already.
func (s *Session) standOn(expires time.Time) bool {
	today := s.h.clock.Now()
	s.mu.Lock()
	if s.closing || s.dead {
		s.mu.Unlock()
		return false
	}
	s.expires.Store(endOf(expires, today))
	s.warned = false
	s.mu.Unlock()
	if s.soonOver(s.h.now(), today) {
		s.h.watch(s)
	}
	return true
}

// endOf is when a credential's socket ends, in Unix milliseconds: at the token's exp, or for one accepted after that, with
// the leeway; 0 = never.
func endOf(expires, now time.Time) int64 {
	switch {
	case expires.IsZero():
		return 0
	case now.Before(expires):
		return expires.UnixMilli()
	}
	return expires.Add(domain.TokenLeeway).UnixMilli()
}

// left is for how long the credential is still good.
func (s *Session) left(today time.Time) time.Duration {
	end := s.expires.Load()
	if end == 0 {
		return math.MaxInt64
	}
	return time.UnixMilli(end).Sub(today)
}

// remind tells the client, once for each credential, that it ends within expiryNotice.
func (s *Session) remind(today time.Time) {
	if s.left(today) > expiryNotice {
		return
	}
	s.mu.Lock()
	if s.warned || s.closing || s.dead || s.left(today) > expiryNotice {
		s.mu.Unlock()
		return
	}
	s.warned = true
	s.enqueue(expiringFrame(time.UnixMilli(s.expires.Load())))
}

// expire ends the socket if its credential has ended.
func (s *Session) expire(today time.Time) {
	s.mu.Lock()
	if s.left(today) > 0 {
		s.mu.Unlock()
		return
	}
	s.shut(closeToken, "token expired")
}

// handleAuth puts another credential of the same user in the place of the one that the socket stands on. A credential
// that is no good changes nothing, but counts against the client's address as one shown at the door: the socket lives
// until its own ends.
func (s *Session) handleAuth(ctx context.Context, c *command) (answer, error) {
	if c.Token == "" {
		return nil, domain.Invalid("token", "token is required")
	}
	if !s.h.limits.Address(ctx, s.address).OK {
		return nil, domain.ErrRateLimited
	}
	caller, err := s.h.identity.Authenticate(ctx, application.Credentials(api.TokenCredentials(c.Token)))
	if domain.CodeOf(err) == domain.CodeAuthentication {
		s.h.limits.Failed(ctx, s.address)
	}
	if err != nil {
		return nil, err
	}
	if caller.Tenant.ID != s.caller.Tenant.ID || caller.User != s.caller.User {
		return nil, domain.ErrOtherUser
	}
	if !s.standOn(caller.Expires) {
		return nil, errClosed
	}
	s.peer.Renew(caller)
	// Whoever has revoked it meanwhile did not find it here.
	if err := s.h.identity.Confirm(ctx, caller); err != nil {
		return nil, s.startFailed(err)
	}
	return s.appendRenewed, nil
}

// appendRenewed appends when the socket ends now; null = with no credential.
func (s *Session) appendRenewed(dst []byte) []byte {
	dst = append(dst, `{"expires_at":`...)
	if end := s.expires.Load(); end != 0 {
		return append(api.AppendTime(dst, time.UnixMilli(end)), '}')
	}
	return append(dst, `null}`...)
}
