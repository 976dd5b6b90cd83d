package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var _ ports.Tokens = (*token.Tokens)(nil)

var secret = []byte("0123456789abcdef0123456789abcdef")

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs any header and body with the right secret, so that only their content can be at fault.
func forge(t testing.TB, header, body string) string {
	t.Helper()
	text := encode(header) + "." + encode(body)
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const (
	goodHeader = `{"alg":"HS256","typ":"JWT"}`
	goodBody   = `{"sub":"alice","exp":1800000000}`
)

func TestATokenComesBackAsItWasSigned(t *testing.T) {
	t.Parallel()
	tokens := token.New()
	for _, kid := range []string{"", "kid_abcDEF-123"} {
		want := domain.Claims{Subject: "Ålice 🙂", ExpiresAt: time.Unix(1800000000, 0).UTC(),
			NotBefore: time.Unix(1700000000, 0).UTC()}
		signed, err := tokens.Sign(want, kid, secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tokens.KeyID(signed); err != nil || got != kid {
			t.Errorf("KeyID: got %q, %v, want %q", got, err, kid)
		}
		got, err := tokens.Verify(signed, secret)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Verify: %v %s", err, diff)
		}
	}
}

func TestTokensOfOtherLibrariesAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		want domain.Claims
	}{
		{goodBody, domain.Claims{Subject: "alice", ExpiresAt: time.Unix(1800000000, 0).UTC()}},
		{`{"sub":"a","exp":1800000000.75,"iat":1,"aud":["x"],"iss":5,"scope":{"x":[null]}}`,
			domain.Claims{Subject: "a", ExpiresAt: time.Unix(1800000000, 0).UTC()}},
		{`{"sub":"a","exp":1.8e9}`, domain.Claims{Subject: "a", ExpiresAt: time.Unix(1800000000, 0).UTC()}},
		{`{"SUB":"root","sub":"a"}`, domain.Claims{Subject: "a"}},
		{`{"Sub":"root"}`, domain.Claims{}},
		{`{}`, domain.Claims{}},
	} {
		got, err := token.New().Verify(forge(t, goodHeader, c.body), secret)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.body, err, diff)
		}
	}
}

func TestBodiesThatAreNotClaimsAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", "null,", "[]", `"x"`, `{"sub":"a"`, goodBody + goodBody, `{"sub":"a","sub":"b"}`, `{"sub":5}`,
		`{"sub":["a"]}`, "{\"sub\":\"\xff\"}",
		`{"sub":"a","exp":"1800000000"}`, `{"sub":"a","exp":-1}`, `{"sub":"a","exp":0}`, `{"sub":"a","exp":1e300}`,
		`{"sub":"a","exp":1e999}`,
		`{"sub":"a","exp":253402300800}`, `{"sub":"a","exp":null}`, `{"sub":"a","exp":true}`, `{"sub":"a","exp":{}}`,
		`{"sub":"a","exp":[1]}`,
		`{"sub":"a","nbf":"1"}`, `{"sub":"a","nbf":-5}`, `{"sub":"a","exp":1,"exp":1800000000}`,
	} {
		if got, err := token.New().Verify(forge(t, goodHeader, body), secret); !isRefused(err) {
			t.Errorf("%s: got %+v, %v", body, got, err)
		}
	}
}

func TestHeadersThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"nOnE"}`, `{"alg":"hs256"}`, `{"alg":"HS384"}`, `{"alg":"HS512"}`,
		`{"alg":"RS256"}`, `{"alg":""}`,
		`{}`, `{"alg":null}`, `{"alg":["HS256"]}`, `{"alg":"HS256","alg":"none"}`, `{"alg":"none","alg":"HS256"}`, `[]`,
		`null`, ``, `{"alg":"HS256"`,
		`{"alg":"HS256","crit":["exp"]}`, `{"alg":"HS256","crit":["b64"],"b64":false}`, `{"alg":"HS256","crit":null}`,
		`{"alg":"HS256","kid":""}`, `{"alg":"HS256","kid":5}`, `{"alg":"HS256","kid":"../../etc/passwd"}`,
		`{"alg":"HS256","kid":"' OR 1=1--"}`,
		`{"alg":"HS256","kid":"a b"}`, `{"alg":"HS256","kid":"kid_x\n"}`, `{"alg":"HS256","kid":"` + strings.Repeat("k", 65) + `"}`,
		`{"alg":"HS256","kid":"a","kid":"b"}`, `{"alg":"HS256","kid":["a"]}`,
	} {
		forged := forge(t, header, goodBody)
		if got, err := token.New().Verify(forged, secret); !isRefused(err) {
			t.Errorf("Verify with %s: got %+v, %v", header, got, err)
		}
		if got, err := token.New().KeyID(forged); !isRefused(err) {
			t.Errorf("KeyID of %s: got %q, %v", header, got, err)
		}
	}
}

func TestSignaturesThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	good := forge(t, goodHeader, goodBody)
	text := good[:strings.LastIndexByte(good, '.')]
	signature := good[len(text)+1:]
	flipped := []byte(signature)
	flipped[0] ^= 1
	for name, bad := range map[string]string{
		"no signature": text + ".", "two parts": text, "a flipped bit": text + "." + string(flipped),
		"a cut signature": text + "." + signature[:20],
		"padding":         good + "=", "a line end": good + "\n", "a line end inside": text + ".\n" + signature,
		"a space": " " + good, "trailing dot": good + ".",
		"four parts": good + "." + signature, "empty": "", "dots": "..", "100,000 dots": strings.Repeat(".", 100_000),
		"1 MB":            strings.Repeat("a", 1<<20),
		"standard base64": text + "." + strings.Repeat("+/", 21) + "A", "loose bits": loosen(good),
	} {
		if got, err := token.New().Verify(bad, secret); !isRefused(err) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for name, key := range map[string][]byte{"another secret": []byte("another secret of the right size"),
		"no secret": nil, "an empty secret": {}} {
		if _, err := token.New().Verify(good, key); !isRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// loosen changes the two bits of the last character that base64 does not use.
func loosen(good string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	return good[:len(good)-1] + string(alphabet[last^1])
}

func TestATokenSignedWithEmptySecretIsNotAccepted(t *testing.T) {
	t.Parallel()
	unsafe, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "alice"}).SignedString([]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.New().Verify(unsafe, nil); !isRefused(err) {
		t.Errorf("got %v", err)
	}
	if _, err := token.New().Sign(domain.Claims{Subject: "alice"}, "", nil); !isRefused(err) {
		t.Errorf("Sign with no secret: %v", err)
	}
	if _, err := token.New().Sign(domain.Claims{Subject: "alice"}, "a b", secret); !isRefused(err) {
		t.Errorf("Sign with a kid that cannot be read: %v", err)
	}
}

func TestOtherAlgorithmsAreRefusedEvenWhenSignedRightly(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method jwt.SigningMethod
		key    any
	}{
		{jwt.SigningMethodHS384, secret}, {jwt.SigningMethodHS512, secret}, {jwt.SigningMethodRS256, private},
		{jwt.SigningMethodPS256, private},
		{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
	} {
		signed, err := jwt.NewWithClaims(c.method, jwt.MapClaims{"sub": "alice"}).SignedString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.New().Verify(signed, secret); !isRefused(err) {
			t.Errorf("%s: %v", c.method.Alg(), err)
		}
	}
}

func TestTwoKeysOfATenantAreValidAtOnceWhileItRotates(t *testing.T) {
	t.Parallel()
	tokens := token.New()
	secrets := map[string][]byte{"kid_old": []byte("the old secret, 32 bytes and more"),
		"kid_new": []byte("the new secret, 32 bytes and more")}
	for kid, own := range secrets {
		signed, err := tokens.Sign(domain.Claims{Subject: "alice"}, kid, own)
		if err != nil {
			t.Fatal(err)
		}
		named, err := tokens.KeyID(signed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.Verify(signed, secrets[named]); err != nil {
			t.Errorf("%s with its own secret: %v", kid, err)
		}
		for other, theirs := range secrets {
			if _, err := tokens.Verify(signed, theirs); (err == nil) != (other == kid) {
				t.Errorf("%s with the secret of %s: %v", kid, other, err)
			}
		}
	}
}

func FuzzNoTokenButOursIsAccepted(f *testing.F) {
	good := forge(f, goodHeader, goodBody)
	for _, seed := range []string{good, "", "..", "a.b.c", forge(f, `{"alg":"none"}`, "{}"), strings.Repeat(".", 5000)} {
		f.Add(seed)
	}
	tokens := token.New()
	f.Fuzz(func(t *testing.T, candidate string) {
		if _, err := tokens.KeyID(candidate); err != nil && !isRefused(err) {
			t.Errorf("KeyID: %v", err)
		}
		claims, err := tokens.Verify(candidate, secret)
		if err == nil && candidate != good {
			t.Errorf("%q was accepted as %+v", candidate, claims)
		}
		if err != nil && !isRefused(err) {
			t.Errorf("Verify: %v", err)
		}
	})
}

func isRefused(err error) bool { return errors.Is(err, domain.ErrUnauthenticated) }

func BenchmarkVerify(b *testing.B) {
	tokens, signed := token.New(), forge(b, `{"alg":"HS256","kid":"kid_abc"}`, goodBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Verify(signed, secret); err != nil {
			b.Fatal(err)
		}
	}
}
