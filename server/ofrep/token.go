package ofrep

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A page's EventSource can send no header, so that the URL of a stream says who listens. Its
// token is a pass: signed, so that nobody can make one or change one; readable, so that it holds
// no secret, but the ids that its holder named, those of its API key and of the key's team, and
// the place of the answer that it came with. It is the same for the same question at the same
// place during one step of the clock, and so are the entity tags that cover it.
const (
	passVersion = 1

	// A pass is good for at least one of these and less than two, in seconds. A client that
	// reconnects with an old one loses its stream for a second or two, and web providers say
	// STALE meanwhile; a leaked one tells when something changes and nothing else.
	passStep = 12 * 60 * 60

	maxSubject = 1024 // bytes of the ids of user and team that a pass names
	// A token is longer than this only when it is none of ours.
	maxTokenText = 4096
)

var tokenText = base64.RawURLEncoding.Strict()

// A pass is what a token says.
type pass struct {
	audience tiergate.Audience
	key      string // the id of the API key that it was given for; "" for none
	place    string // where the answer was that it came with; see appendPlace
	expires  int64  // seconds of Unix time
}

// secret is what passes are signed with. Safe for concurrent use.
type secret struct {
	key []byte
	id  [8]byte // names the secret and tells nothing about it
}

func newSecret(material []byte) secret {
	derive := func(label string) []byte {
		h := hmac.New(sha256.New, material)
		h.Write([]byte("tiergate ofrep stream " + label))
		return h.Sum(nil)
	}
	return secret{key: derive("key"), id: [8]byte(derive("id"))}
}

// signer returns what signs one pass after the other, for one goroutine.
func (s secret) signer() hash.Hash { return hmac.New(sha256.New, s.key) }

// appendSubject appends what a pass says of who asks, and reports whether there can be a pass:
// not for the name of a set that is too long to exist.
func appendSubject(b []byte, req *tiergate.Request, everyone bool) ([]byte, bool) {
	set, user, team, key := req.Set, req.UserID, req.TeamID, ""
	if req.Key != nil {
		key = req.Key.ID
		if req.Key.TeamID != "" {
			team = req.Key.TeamID
		}
	}
	if len(set) > tiergate.MaxNameLength || len(key) > tiergate.MaxNameLength {
		return b, false
	}
	everyone = everyone || len(user)+len(team) > maxSubject // rather told too much than too little
	if everyone {
		user, team = "", ""
	}
	b = append(b, passVersion, flagByte(everyone))
	for _, text := range [...]string{set, user, team, key} {
		b = server.AppendText(b, text)
	}
	return b, true
}

// expiryOf says when a pass that is given to a subject now expires. The steps of subjects begin
// at different times, so that streams do not all end at once.
func expiryOf(subject []byte, now int64) int64 {
	phase := int64(crc32.ChecksumIEEE(subject)) % passStep
	return (floorDiv(now+phase, passStep)+2)*passStep - phase
}

// appendToken appends the token of a pass to text. The pass begins with subject, which is
// overwritten.
func appendToken(text, subject []byte, place []byte, expires int64, signer hash.Hash) (_, scratch []byte) {
	p := append(binary.AppendUvarint(subject, uint64(len(place))), place...)
	p = binary.BigEndian.AppendUint64(p, uint64(expires))
	signer.Reset()
	signer.Write(p)
	p = signer.Sum(p)
	return tokenText.AppendEncode(text, p), p
}

// read returns the pass of a token, and false for everything that was not signed with the
// secret. Whether it has expired is for the caller to see.
func (s secret) read(token []byte) (pass, bool) {
	if len(token) > maxTokenText || bytes.ContainsAny(token, "\r\n") { // which base64 skips
		return pass{}, false
	}
	p := make([]byte, tokenText.DecodedLen(len(token)))
	n, err := tokenText.Decode(p, token)
	if err != nil || n < sha256.Size {
		return pass{}, false
	}
	said, signature := p[:n-sha256.Size], p[n-sha256.Size:n]
	signer := s.signer()
	signer.Write(said)
	if !hmac.Equal(signer.Sum(nil), signature) {
		return pass{}, false
	}
	return passOf(string(said))
}

// passOf reads what was signed.
func passOf(said string) (p pass, ok bool) {
	if len(said) < 2 || said[0] != passVersion || said[1] > 1 {
		return pass{}, false
	}
	p.audience.Everyone = said[1] == 1
	rest := said[2:]
	for _, to := range [...]*string{&p.audience.Set, &p.audience.UserID, &p.audience.TeamID, &p.key, &p.place} {
		if *to, rest, ok = cutText(rest); !ok {
			return pass{}, false
		}
	}
	if len(rest) != 8 {
		return pass{}, false
	}
	p.expires = int64(binary.BigEndian.Uint64([]byte(rest)))
	return p, true
}

// cutText cuts off what AppendText appended.
func cutText(s string) (text, rest string, ok bool) {
	n, err := binary.ReadUvarint(strings.NewReader(s))
	head := len(binary.AppendUvarint(nil, n))
	if err != nil || head > len(s) || n > uint64(len(s)-head) {
		return "", "", false
	}
	return s[head : head+int(n)], s[head+int(n):], true
}
