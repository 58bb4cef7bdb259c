package tiergate

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strings"
	"time"
)

// The form of an API key, "tg_<env>_<id>_<secret>_<crc>": a prefix that secret scanners
// know, the environment, a public id to look it up by, 256 bits of secret, and a checksum
// that refuses typing errors before anything is looked up. All parts are base62.
const (
	keyPrefix    = "tg"
	keyIDLength  = 12
	keySecretLen = 43 // 62^43 > 2^256
	keyCRCLen    = 6  // 62^6 > 2^32
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// The scopes of keys: what a key may be used for. A scope that is none of these allows
// nothing here.
const (
	ScopeEvaluate = "evaluate" // ask for decisions about flags, over any protocol
	ScopeConsume  = "consume"  // take from limits, record usage, hold reservations; and ask
)

// Allows reports whether the key may be used for what a scope names. A key without scopes
// may be used for nothing, and neither may nil.
func (k *Key) Allows(scope string) bool { return k != nil && slices.Contains(k.Scopes, scope) }

// Usable reports whether the key is active and not expired; nil is not.
func (k *Key) Usable(now time.Time) bool {
	return k != nil && k.State == KeyActive && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// A PresentedKey is what a caller sent, taken apart. Its secret is checked against a Key.
type PresentedKey struct {
	Env    string
	ID     string
	secret string
}

// MintKey makes a new key for an environment (letters and digits, at most 16): its text,
// to be shown once, and its id and hash, to be stored.
func MintKey(env string) (text, id, hash string) {
	id, secret := randomBase62(keyIDLength), randomBase62(keySecretLen)
	head := keyPrefix + "_" + env + "_" + id + "_" + secret
	return head + "_" + keyChecksum(head), id, hashSecret(secret)
}

// ParseKey takes a presented key apart. A malformed one is Unauthorized, and the error
// never repeats any of it.
func ParseKey(text string) (PresentedKey, error) {
	parts := strings.Split(text, "_")
	bad := Errorf(Unauthorized, "the API key is malformed")
	if len(text) > 128 || len(parts) != 5 || parts[0] != keyPrefix {
		return PresentedKey{}, bad
	}
	env, id, secret := parts[1], parts[2], parts[3]
	if env == "" || len(env) > 16 || len(id) != keyIDLength || len(secret) != keySecretLen {
		return PresentedKey{}, bad
	}
	for _, part := range parts[1:] {
		if strings.Trim(part, base62) != "" {
			return PresentedKey{}, bad
		}
	}
	if keyChecksum(text[:strings.LastIndexByte(text, '_')]) != parts[4] {
		return PresentedKey{}, bad
	}
	return PresentedKey{Env: env, ID: id, secret: secret}, nil
}

// Opens reports whether the presented key is this key, active and not expired. Passing
// nil, for an id that is not known, takes the same time and is false.
func (p PresentedKey) Opens(k *Key, now time.Time) bool {
	want, usable := "", false
	if k != nil {
		want = k.Hash
		usable = k.Usable(now)
	}
	same := subtle.ConstantTimeCompare([]byte(hashSecret(p.secret)), []byte(want)) == 1
	return same && usable
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func keyChecksum(head string) string {
	n := crc32.ChecksumIEEE([]byte(head))
	var out [keyCRCLen]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}

// randomBase62 draws n characters, each equally likely: bytes past 4·62 are thrown away.
func randomBase62(n int) string {
	out := make([]byte, 0, n)
	for buf := make([]byte, 2*n); len(out) < n; {
		_, _ = rand.Read(buf) // never fails: crypto/rand ends the program instead
		for _, b := range buf {
			if b < 4*62 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}
