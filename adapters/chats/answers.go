package chats

import "github.com/chatapi/chatapi/api"

// answer is the one that a socket's client is being told: its message id, empty when there is none, and how far it has come.
// Events of answers have no id before the end, so there is one at a time. When a person or another bot speaks meanwhile that is
// told as a whole, and then the one under way begins anew.
type answer struct {
	id   string
	text []byte
}

// begins tells that an answer begins, or begins anew. One that begins while another is told waits for its end.
func (s *session) begins(told *api.Told) [][]byte {
	if s.answer.id != "" && s.answer.id != told.MessageID {
		return nil
	}
	s.answer = answer{told.MessageID, []byte(told.Content)}
	return [][]byte{s.streamStarted(), s.token(told.Content)}
}

func (s *session) goesOn(told *api.Told) [][]byte {
	if s.answer.id != told.MessageID {
		return nil
	}
	s.answer.text = append(s.answer.text, told.Delta...)
	return [][]byte{s.token(told.Delta)}
}

func (s *session) ends(told *api.Told) [][]byte {
	if s.answer.id != told.MessageID {
		return s.whole(told)
	}
	s.answer = answer{}
	return [][]byte{s.streamEnded(told)}
}

// whole tells an answer of which nothing was told before.
func (s *session) whole(told *api.Told) [][]byte {
	return append([][]byte{s.streamStarted(), s.token(told.Content), s.streamEnded(told)}, s.resume(told)...)
}

// resume begins the answer under way anew, behind one that has ended in between.
func (s *session) resume(ended *api.Told) [][]byte {
	switch s.answer.id {
	case "":
		return nil
	case ended.MessageID:
		s.answer = answer{}
		return nil
	}
	return [][]byte{s.streamStarted(), s.token(string(s.answer.text))}
}
