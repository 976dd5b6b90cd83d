package secrets_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var _ ports.Sealer = (*secrets.Sealer)(nil)

func sealer(t testing.TB, fill byte) *secrets.Sealer {
	t.Helper()
	s, err := secrets.New(bytes.Repeat([]byte{fill}, secrets.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASecretComesBackOnlyToItsPlace(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	for _, plain := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte{0xff, 0}, 8192)} {
		sealed, err := s.Seal(plain, "tenant_a|signing-key|kid_1")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(sealed, "tenant_a|signing-key|kid_1"); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(plain))
		}
		for _, other := range []string{"", "tenant_b|signing-key|kid_1", "tenant_a|signing-key|kid_12",
			"tenant_a|webhook-secret"} {
			if _, err := s.Open(sealed, other); !errors.Is(err, secrets.ErrUnreadable) {
				t.Errorf("opened in place %q: %v", other, err)
			}
		}
	}
}

func TestASealedSecretHidesItsTextAndNeverRepeats(t *testing.T) {
	t.Parallel()
	s, plain := sealer(t, 1), []byte("a secret that must not be seen")
	first, err := s.Seal(plain, "c")
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Seal(plain, "c")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(first, plain[:8]) || bytes.Equal(first, second) {
		t.Errorf("sealed as %x and %x", first, second)
	}
}

func TestAnyChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	sealed, err := s.Seal([]byte("secret"), "c")
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		if _, err := s.Open(bad, "c"); !errors.Is(err, secrets.ErrUnreadable) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := s.Open(sealed[:i], "c"); !errors.Is(err, secrets.ErrUnreadable) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := s.Open(append(bytes.Clone(sealed), 0), "c"); !errors.Is(err, secrets.ErrUnreadable) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestAnotherKeyOpensNothing(t *testing.T) {
	t.Parallel()
	sealed, err := sealer(t, 1).Seal([]byte("secret"), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealer(t, 2).Open(sealed, "c"); !errors.Is(err, secrets.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
}

func TestAKeyHas32Bytes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := secrets.New(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was accepted", n)
		}
	}
}

func FuzzOpenNeverPanicsAndAcceptsOnlyItsOwn(f *testing.F) {
	s := sealer(f, 1)
	own, err := s.Seal([]byte("secret"), "c")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(own))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := s.Open(domain.Sealed(data), "c"); err == nil && !bytes.Equal(data, own) {
			t.Errorf("opened %x", data)
		}
	})
}
