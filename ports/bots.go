package ports

import (
	"context"
	"iter"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// BotReader reads bots, and their answers that are on their way.
type BotReader interface {
	// Bot returns one; domain.ErrBotNotFound, also when it was removed.
	Bot(id domain.BotID) (domain.Bot, error)
	// Bots lists a tenant's, oldest first.
	Bots(offset, limit int) ([]domain.Bot, error)
	// RoomBots returns the bots among a room's active members, by order of joining; at most domain.MaxBotsPerRoom.
	RoomBots(room domain.RoomID) ([]domain.BotID, error)
	// Stream returns an answer on its way by the id it will have as a message; domain.ErrMessageNotFound when there is none
	// in the room.
	Stream(room domain.RoomID, message domain.MessageID) (domain.Stream, error)
	// StreamOf returns a bot's answer on its way in a room; ok is false when there is none. There is one at most.
	StreamOf(room domain.RoomID, bot domain.BotID) (s domain.Stream, ok bool, err error)
	// BotReplies counts the messages of bots in a room since a time, up to limit.
	BotReplies(room domain.RoomID, since time.Time, limit int) (int, error)
}

// BotWriter keeps bots.
type BotWriter interface {
	// AddBot stores one; a tenant's 51st (domain.MaxBots) is domain.ErrTooManyBots.
	AddBot(b domain.Bot) error
	// UpdateBot stores a bot that exists anew; domain.ErrBotNotFound.
	UpdateBot(b domain.Bot) error
	// RemoveBot ends one, with its key; domain.ErrBotNotFound. Its memberships are the caller's to end, and its messages stay.
	RemoveBot(id domain.BotID) error
}

// StreamWriter keeps answers while they are on their way. Every call but StopStream shows the hold of its run: once that is
// lost it is domain.ErrLeaseLost, and nothing is written.
type StreamWriter interface {
	// OpenStream stores an answer that begins, or begins anew with a later Attempt. While the bot has another answer on its
	// way in the room it is an error. When the room is gone nothing is written, and the note says Removed.
	OpenStream(hold domain.Hold, s domain.Stream) (StreamNote, error)
	// KeepStream stores how far an answer has come; domain.ErrMessageNotFound when it is not, or no more, on its way. When
	// the room is gone nothing is written, and the note says Removed.
	KeepStream(hold domain.Hold, message domain.MessageID, text string) (StreamNote, error)
	// EndStream ends an answer of which no message is made, or one that had not begun, and the run with it: its job is gone,
	// or goes on at once when there is a newer trigger.
	EndStream(hold domain.Hold, message domain.MessageID) error
	// StopStream notes that an answer is to be stopped, for whoever holds its run; domain.ErrMessageNotFound.
	StopStream(room domain.RoomID, message domain.MessageID) error
}

// StreamNote is what a run must know of its room, as of the transaction.
type StreamNote struct {
	Stopped bool // somebody has asked for it
	Human   bool // people answer now, or have since the hold last saw that it may speak
	Removed bool // the bot is no member any more, or the room is gone
}

// LLM asks a model.
type LLM interface {
	// Answer yields what the model says, as it comes. It ends after the piece with Finish, or with a *ModelError. Ending the
	// loop, or ctx, ends the call.
	Answer(ctx context.Context, q Question) iter.Seq2[Piece, error]
}

// Question is what a model is asked.
type Question struct {
	Endpoint        string // see Endpoints
	Provider        domain.Provider
	BaseURL         string
	Key             Secret // an empty one is not sent
	Model           string
	System          string
	Turns           []Turn
	MaxOutputTokens int // 0 = the provider's own
	Temperature     *float64
}

// Turn is one message of a conversation as a model sees it.
type Turn struct {
	Role string // user or assistant
	Text string
}

// Piece is a part of an answer.
type Piece struct {
	Text   string
	Usage  *TokenUsage         // as last told
	Finish domain.FinishReason // set on the last piece
}

// TokenUsage is what an answer has cost, as the provider counts.
type TokenUsage struct{ Input, Output int64 }

// ModelError is why a model's answer ended without a finish.
type ModelError struct {
	Code       domain.StreamCode
	Status     int           // of the answer; 0 when there was none
	Cause      Cause         // for logs and metrics; never what the server said
	RetryAfter time.Duration // 0 = not told
	Retryable  bool          // asking again may help, as long as nothing was said
}

func (e *ModelError) Error() string { return string(e.Code) + ": " + string(e.Cause) }
