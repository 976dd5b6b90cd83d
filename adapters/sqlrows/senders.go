package sqlrows

import (
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
)

// The numbers of sender types in a store; they are never given another meaning.
var senderTypes = [...]domain.SenderType{1: domain.SenderUser, 2: domain.SenderBot, 3: domain.SenderSystem}

// SenderNumber is the number of a sender type.
func SenderNumber(t domain.SenderType) (int64, error) {
	if i := slices.Index(senderTypes[:], t); i > 0 {
		return int64(i), nil
	}
	return 0, fmt.Errorf("unknown sender type %q", t)
}

// SenderType is the type of a number; false when no type has it.
func SenderType(number int64) (domain.SenderType, bool) {
	if number < 1 || number >= int64(len(senderTypes)) {
		return "", false
	}
	return senderTypes[number], true
}
