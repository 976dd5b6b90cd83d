package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Summary is a room as a list shows it.
type Summary struct {
	Room
	LastMessage *Message `json:"last_message"`
	Unread      int64    `json:"unread_count"`
	LastAck     int64    `json:"last_ack"`
}

// Rooms reads all of a user's rooms, in pages; query is appended to each page's, such as "&device_id=phone".
func (c *Client) Rooms(query string) ([]Summary, error) {
	const limit, maxPages = 100, 1000
	var all []Summary
	for n := range maxPages {
		var page []Summary
		path := fmt.Sprintf("/rooms?limit=%d&offset=%d%s", limit, n*limit, query)
		if _, err := c.Call(http.MethodGet, path, nil, http.StatusOK, &page); err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < limit {
			return all, nil
		}
	}
	return nil, fmt.Errorf("a user has more than %d rooms", limit*maxPages)
}

// PatchRoom changes a room; body is what is to change.
func (c *Client) PatchRoom(room string, body any) (Room, error) {
	var patched Room
	_, err := c.Call(http.MethodPatch, "/rooms/"+room, body, http.StatusOK, &patched)
	return patched, err
}

// RemoveRoom deletes a room.
func (c *Client) RemoveRoom(room string) error {
	_, err := c.Call(http.MethodDelete, "/rooms/"+room, nil, http.StatusNoContent, nil)
	return err
}

// Join makes the user a member of a channel.
func (c *Client) Join(room string) error {
	_, err := c.Call(http.MethodPost, "/rooms/"+room+"/join", nil, http.StatusNoContent, nil)
	return err
}

// SetRole makes a member an admin or an admin a member.
func (c *Client) SetRole(room, user, role string) error {
	body := map[string]any{"role": role}
	_, err := c.Call(http.MethodPatch, "/rooms/"+room+"/members/"+url.PathEscape(user), body, http.StatusNoContent, nil)
	return err
}

// Edit replaces what a message says.
func (c *Client) Edit(room, message, content string) (Message, error) {
	var m Message
	body := map[string]any{"content": content}
	_, err := c.Call(http.MethodPut, "/rooms/"+room+"/messages/"+message, body, http.StatusOK, &m)
	return m, err
}

// Delete makes a message a tombstone.
func (c *Client) Delete(room, message string) error {
	_, err := c.Call(http.MethodDelete, "/rooms/"+room+"/messages/"+message, nil, http.StatusNoContent, nil)
	return err
}

// Read raises the user's read mark.
func (c *Client) Read(room string, seq int64) error {
	_, err := c.Call(http.MethodPost, "/rooms/"+room+"/read", map[string]any{"seq": seq}, http.StatusOK, nil)
	return err
}

// Changes reads the log of a room above a position, in pages of limit; each step has the shape of the socket's frame.
func (c *Client) Changes(room string, after int64, limit int) ([]Frame, error) {
	const maxPages = 20_000
	var all []Frame
	for range maxPages {
		var page []json.RawMessage
		path := fmt.Sprintf("/rooms/%s/changes?after_rev=%d&limit=%d", room, after, limit)
		if _, err := c.Call(http.MethodGet, path, nil, http.StatusOK, &page); err != nil {
			return nil, err
		}
		for _, raw := range page {
			step := Frame{Raw: raw}
			if err := json.Unmarshal(raw, &step); err != nil {
				return nil, err
			}
			all, after = append(all, step), step.Rev
		}
		if len(page) < limit {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the log of %s has more than %d pages", room, maxPages)
}

// Status is whether a user is online.
type Status struct {
	UserID     string  `json:"user_id"`
	Status     string  `json:"status"`
	LastSeenAt *string `json:"last_seen_at"`
}

// Presence asks who of the users is online.
func (c *Client) Presence(users ...string) ([]Status, error) {
	var found []Status
	escaped := make([]string, len(users))
	for i, u := range users {
		escaped[i] = url.QueryEscape(u)
	}
	_, err := c.Call(http.MethodGet, "/presence?user_ids="+strings.Join(escaped, ","), nil, http.StatusOK, &found)
	return found, err
}
