package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Tenant is a tenant with one API key.
type Tenant struct {
	ID     string `json:"tenant_id"`
	Key    string `json:"api_key"`
	Name   string `json:"name"`
	server *Server
}

// Room is a room as the API shows it.
type Room struct {
	RoomID    string          `json:"room_id"`
	Type      string          `json:"type"`
	UniqueKey *string         `json:"unique_key"`
	Name      *string         `json:"name"`
	Metadata  json.RawMessage `json:"metadata"`
	LastSeq   int64           `json:"last_seq"`
	LastRev   int64           `json:"last_rev"`
	FirstSeq  int64           `json:"first_seq"`
	CreatedAt string          `json:"created_at"`
}

// Message is a message as the API and the sockets show it.
type Message struct {
	MessageID  string          `json:"message_id"`
	RoomID     string          `json:"room_id"`
	SenderID   string          `json:"sender_id"`
	SenderType string          `json:"sender_type"`
	Seq        int64           `json:"seq"`
	Rev        int64           `json:"rev"`
	Content    string          `json:"content"`
	Meta       json.RawMessage `json:"meta"`
	ClientID   string          `json:"client_id"`
	ReplyTo    string          `json:"reply_to"`
	CreatedAt  string          `json:"created_at"`
	EditedAt   string          `json:"edited_at"`
	DeletedAt  string          `json:"deleted_at"`
}

// NewTenant makes a tenant through the master key, without a rate limit.
func (s *Server) NewTenant(name string) (*Tenant, error) {
	return s.NewTenantWith(name, map[string]any{"rate_limit": 0})
}

// NewTenantWith makes a tenant with a config of its own.
func (s *Server) NewTenantWith(name string, config map[string]any) (*Tenant, error) {
	tenant := &Tenant{server: s}
	body := map[string]any{"name": name, "config": config}
	_, err := s.Operator().Call(http.MethodPost, "/admin/tenants", body, http.StatusCreated, tenant)
	return tenant, err
}

// Server is the server the tenant lives on.
func (t *Tenant) Server() *Server { return t.server }

// Backend is a client with the tenant's API key alone.
func (t *Tenant) Backend() *Client { return t.server.Anonymous().With("X-API-Key", t.Key) }

// User is a user of a tenant who authenticates with the API key and X-User-Id.
type User struct {
	*Client
	ID     string
	tenant *Tenant
}

// User returns a client that acts as one user.
func (t *Tenant) User(id string) *User {
	return &User{Client: t.Backend().With("X-User-Id", id), ID: id, tenant: t}
}

// CreateRoom makes a room of a type with members.
func (c *Client) CreateRoom(kind string, members ...string) (Room, error) {
	var room Room
	body := map[string]any{"type": kind, "members": members}
	_, err := c.Call(http.MethodPost, "/rooms", body, http.StatusCreated, &room)
	return room, err
}

// AddMembers adds users to a room, in steps of 100.
func (c *Client) AddMembers(room string, users ...string) error {
	for len(users) > 0 {
		n := min(len(users), 100)
		body := map[string]any{"user_ids": users[:n]}
		if _, err := c.Call(http.MethodPost, "/rooms/"+room+"/members", body, http.StatusNoContent, nil); err != nil {
			return err
		}
		users = users[n:]
	}
	return nil
}

// RemoveMember takes a user out of a room.
func (c *Client) RemoveMember(room, user string) error {
	_, err := c.Call(http.MethodDelete, "/rooms/"+room+"/members/"+url.PathEscape(user), nil, http.StatusNoContent, nil)
	return err
}

// Room reads a room.
func (c *Client) Room(id string) (Room, error) {
	var room Room
	_, err := c.Call(http.MethodGet, "/rooms/"+id, nil, http.StatusOK, &room)
	return room, err
}

// Send posts a message.
func (c *Client) Send(room, content string) (Message, error) {
	return c.SendAs(room, map[string]any{"content": content})
}

// SendAs posts a message with a body of its own.
func (c *Client) SendAs(room string, body any) (Message, error) {
	var m Message
	_, err := c.Call(http.MethodPost, "/rooms/"+room+"/messages", body, http.StatusCreated, &m)
	return m, err
}

// Page reads one page of a history.
func (c *Client) Page(room string, after int64, limit int) ([]Message, error) {
	var page []Message
	path := fmt.Sprintf("/rooms/%s/messages?after_seq=%d&limit=%d", room, after, limit)
	_, err := c.Call(http.MethodGet, path, nil, http.StatusOK, &page)
	return page, err
}

// History reads all messages of a room above a seq, in pages.
func (c *Client) History(room string, after int64, limit int) ([]Message, error) {
	const maxPages = 20_000
	var all []Message
	for range maxPages {
		page, err := c.Page(room, after, limit)
		if err != nil {
			return all, err
		}
		all = append(all, page...)
		if len(page) < limit {
			return all, nil
		}
		after = page[len(page)-1].Seq
	}
	return all, fmt.Errorf("the history of %s has more than %d pages", room, maxPages)
}

// Ack raises a delivery mark; an empty device is the common one.
func (c *Client) Ack(room string, seq int64, device string) error {
	body := map[string]any{"room_id": room, "seq": seq}
	if device != "" {
		body["device_id"] = device
	}
	_, err := c.Call(http.MethodPost, "/acks", body, http.StatusOK, nil)
	return err
}

// Token mints a JWT of the default tenant: HS256 with the server's JWT_SECRET, valid for an hour.
func (s *Server) Token(user string) (string, error) {
	return s.TokenWith(jwt.SigningMethodHS256, []byte(s.JWTSecret), jwt.MapClaims{
		"sub": user, "exp": time.Now().Add(time.Hour).Unix(),
	})
}

// TokenUser is a user of the default tenant who shows a token.
func (s *Server) TokenUser(t testing.TB, id string) *User {
	t.Helper()
	token := Must(s.Token(id))(t)
	return &User{Client: s.Anonymous().With("Authorization", "Bearer "+token), ID: id}
}

// TokenWith mints a JWT of any method, key and claims.
func (s *Server) TokenWith(method jwt.SigningMethod, key any, claims jwt.MapClaims) (string, error) {
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	s.canary.Secret(token)
	return token, err
}
