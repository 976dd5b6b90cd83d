package application

import (
	"context"
	"errors"
	"fmt"

	"github.com/chatapi/chatapi/ports"
)

// ErrWrongSealingKey says that the secrets of a store were sealed with another key.
var ErrWrongSealingKey = errors.New("it is not the key this store was made with: its sealed secrets cannot be opened")

// CheckSealer proves at the start that the sealing key is the store's, before a user's token finds out. The first key
// that a store sees is its own.
func CheckSealer(ctx context.Context, proofs ports.Proofs, sealer ports.Sealer) error {
	const purpose = "store|sealing-key-proof"
	fresh, err := sealer.Seal([]byte("chatapi"), purpose)
	if err != nil {
		return fmt.Errorf("seal a proof: %w", err)
	}
	kept, err := proofs.KeepProof(ctx, fresh)
	if err != nil {
		return fmt.Errorf("keep a proof: %w", err)
	}
	if _, err := sealer.Open(kept, purpose); err != nil {
		return ErrWrongSealingKey
	}
	return nil
}
