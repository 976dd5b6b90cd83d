// Package secrets encrypts what the store must keep and nobody may read there: signing keys, webhook secrets and
// provider keys, with AES-256-GCM (NIST SP 800-38D).
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/chatapi/chatapi/domain"
)

// KeySize is the size of the sealing key in bytes.
const KeySize = 32

// ErrUnreadable is a sealed secret that cannot be opened: it was sealed with another key, for another place, or it
// has been changed.
var ErrUnreadable = errors.New("secrets: the sealed secret cannot be opened with this key")

// A sealed secret is format, key id, then nonce, ciphertext and tag as cipher.NewGCMWithRandomNonce writes them.
const (
	format1   = 1
	keyIDSize = 4
	headSize  = 1 + keyIDSize
)

// Sealer seals with one key. It satisfies ports.Sealer and is safe for concurrent use. Nonces are random: a key is good
// for 2³² secrets, far more than any server has tenants.
type Sealer struct {
	aead  cipher.AEAD
	keyID [keyIDSize]byte
}

// New returns a sealer with a key of KeySize bytes.
func New(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("secrets: a key has %d bytes, this one has %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s := &Sealer{aead: aead}
	// The id tells keys apart and nothing else: four bytes of a hash of 32 random ones give nothing away.
	digest := sha256.Sum256(append([]byte("chatapi key id\x00"), key...))
	copy(s.keyID[:], digest[:])
	return s, nil
}

// Seal encrypts plain for the place that context names.
func (s *Sealer) Seal(plain []byte, context string) (domain.Sealed, error) {
	sealed := make([]byte, 0, headSize+len(plain)+s.aead.Overhead())
	sealed = append(append(sealed, format1), s.keyID[:]...)
	return s.aead.Seal(sealed, nil, plain, bind(sealed, context)), nil //nolint:gosec // the cipher makes the nonce itself
}

// Open decrypts what Seal made with the same key and context; anything else is ErrUnreadable.
func (s *Sealer) Open(sealed domain.Sealed, context string) ([]byte, error) {
	if len(sealed) < headSize || sealed[0] != format1 {
		return nil, ErrUnreadable
	}
	if [keyIDSize]byte(sealed[1:headSize]) != s.keyID {
		return nil, fmt.Errorf("%w: it was sealed with key %x, this is key %x", ErrUnreadable, sealed[1:headSize], s.keyID)
	}
	plain, err := s.aead.Open(nil, nil, sealed[headSize:], bind(sealed[:headSize], context))
	if err != nil {
		return nil, ErrUnreadable
	}
	return plain, nil
}

// bind is the additional data: the head and the context are authenticated with the secret.
func bind(head []byte, context string) []byte {
	return append(append(make([]byte, 0, headSize+len(context)), head...), context...)
}
