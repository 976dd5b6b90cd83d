package outbound

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/ports"
)

// bodySignature is the header of the first ChatAPI. It covers the body alone, so that who has seen a request can send it
// again; receivers that can should verify the Standard Webhooks headers.
const bodySignature = "X-ChatAPI-Signature"

// secretPrefix marks a secret whose key is the base64 after it (Standard Webhooks 1.0, "Signature scheme").
const secretPrefix = "whsec_"

// CheckSecret reports whether webhooks can be signed with a secret; its error says what would be right and never quotes it.
func CheckSecret(secret ports.Secret) error {
	_, err := signingKey(secret)
	return err
}

// signingKey returns the key of a secret: what whsec_ wraps, or the secret's own bytes.
func signingKey(secret ports.Secret) ([]byte, error) {
	text := secret.Reveal()
	encoded, wrapped := strings.CutPrefix(text, secretPrefix)
	if !wrapped {
		if text == "" {
			return nil, errors.New("a secret is not empty")
		}
		return []byte(text), nil
	}
	signing, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(signing) == 0 {
		return nil, errors.New("after whsec_ a secret is base64, with its padding")
	}
	return signing, nil
}

// sign adds the signature headers, one signature a secret. The old header has room for one: the newest secret's.
func sign(h http.Header, id string, at time.Time, body []byte, secrets []ports.Secret) error {
	h["Webhook-Id"] = []string{id}
	h["Webhook-Timestamp"] = []string{strconv.FormatInt(at.Unix(), 10)}
	signatures := make([]string, 0, len(secrets))
	for i, secret := range secrets {
		signing, err := signingKey(secret)
		if err != nil {
			return err
		}
		signer, err := standardwebhooks.NewWebhookRaw(signing)
		if err != nil {
			return err
		}
		signature, err := signer.Sign(id, at, body)
		if err != nil {
			return err
		}
		signatures = append(signatures, signature)
		if i == 0 {
			mac := hmac.New(sha256.New, signing)
			mac.Write(body)
			h[bodySignature] = []string{"sha256=" + hex.EncodeToString(mac.Sum(nil))}
		}
	}
	if len(signatures) > 0 {
		h["Webhook-Signature"] = []string{strings.Join(signatures, " ")}
	}
	return nil
}
