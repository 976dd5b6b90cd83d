package application

import (
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// What a bot's model is shown of its room: who said what, up to what is to be answered.

// turnsOf is a history as the bot's model sees it: what the bot has said is the assistant's, and everything else, other
// bots included, is the user's. Nobody's words can become the system's. It begins with a user, and ends with the message
// that is to be answered: an answer of the bot's stands behind what it answers, also when that was not the last word by
// then, and what came after the trigger is the next run's.
func turnsOf(history []domain.Message, bot domain.UserID, trigger int64) (turns []ports.Turn) {
	answers := map[domain.MessageID][]domain.Message{}
	for _, m := range history {
		if m.Sender == bot {
			answers[m.ReplyTo] = append(answers[m.ReplyTo], m)
		}
	}
	for _, m := range history {
		if m.Sender == bot || m.Seq > trigger {
			continue
		}
		if !m.IsDeleted() {
			turns = append(turns, ports.Turn{Role: "user", Text: m.Content})
		}
		for _, a := range answers[m.ID] {
			if !a.IsDeleted() && len(turns) > 0 && m.Seq < trigger {
				turns = append(turns, ports.Turn{Role: "assistant", Text: a.Content})
			}
		}
	}
	return turns
}

// readTurns reads what is to be answered and what was said before: so many messages up to the trigger, and the bot's own
// answers that came behind it. When the trigger was deleted, the one before it that is not answered yet is asked instead;
// silent says that there is none.
func (u *botRun) readTurns(v ports.Reader, trigger domain.MessageID) (silent bool, err error) {
	if u.asked, err = v.Message(u.claim.Room, trigger); err != nil {
		return false, err
	}
	history, err := v.MessagesBefore(u.claim.Room, u.asked.Seq+1, u.bot.ContextMessages)
	if err != nil {
		return false, err
	}
	since, err := v.MessagesAfter(u.claim.Room, u.asked.Seq, u.bot.ContextMessages)
	if err != nil {
		return false, err
	}
	history = append(history, since...)
	if u.asked.IsDeleted() {
		asked, ok := unanswered(history, u.claim.Bot.User(), u.asked.Seq)
		if !ok {
			return true, nil
		}
		u.asked = asked
	}
	u.turns = turnsOf(history, u.claim.Bot.User(), u.asked.Seq)
	return false, nil
}

// unanswered is the newest message of a user's, below a number, behind all that the bot has answered.
func unanswered(history []domain.Message, bot domain.UserID, below int64) (m domain.Message, ok bool) {
	answered := map[domain.MessageID]bool{}
	for _, a := range history {
		if a.Sender == bot {
			answered[a.ReplyTo] = true
		}
	}
	for _, q := range history {
		switch {
		case answered[q.ID]:
			ok = false
		case q.SenderType == domain.SenderUser && !q.IsDeleted() && q.Seq < below:
			m, ok = q, true
		}
	}
	return m, ok
}
