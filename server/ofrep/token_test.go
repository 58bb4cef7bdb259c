package ofrep

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

var testSecret = newSecret([]byte("0123456789abcdef0123456789abcdef"))

// tokenFor makes the token of a request as a bulk answer does.
func tokenFor(s secret, req *tiergate.Request, place string, now time.Time) []byte {
	subject, ok := appendSubject(nil, req, false)
	if !ok {
		return nil
	}
	text, _ := appendToken(nil, subject, []byte(place), expiryOf(subject, now.Unix()), s.signer())
	return text
}

// What a token says is what the question was: who asks, with which key, from where on.
func TestToken_says_who_listens(t *testing.T) {
	key := &tiergate.Key{ID: "k1", TeamID: "acme"}
	long := strings.Repeat("x", maxSubject)
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		req  tiergate.Request
		want pass
	}{
		"nobody": {tiergate.Request{Set: "default"}, pass{audience: tiergate.Audience{Set: "default"}}},
		"a user": {
			tiergate.Request{Set: "s", UserID: "alice", TeamID: "acme"},
			pass{audience: tiergate.Audience{Set: "s", UserID: "alice", TeamID: "acme"}},
		},
		"a key's team beats the one that is named": {
			tiergate.Request{Set: "s", UserID: "alice", TeamID: "other", Key: key},
			pass{audience: tiergate.Audience{Set: "s", UserID: "alice", TeamID: "acme"}, key: "k1"},
		},
		"a key without a team": {
			tiergate.Request{Set: "s", TeamID: "other", Key: &tiergate.Key{ID: "k2"}},
			pass{audience: tiergate.Audience{Set: "s", TeamID: "other"}, key: "k2"},
		},
		"any bytes":             {tiergate.Request{Set: "s", UserID: "\x00\xff\n@"}, pass{audience: tiergate.Audience{Set: "s", UserID: "\x00\xff\n@"}}},
		"the longest ids":       {tiergate.Request{Set: "s", UserID: long}, pass{audience: tiergate.Audience{Set: "s", UserID: long}}},
		"ids that are too long": {tiergate.Request{Set: "s", UserID: long, TeamID: "x"}, pass{audience: tiergate.Audience{Set: "s", Everyone: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			token := tokenFor(testSecret, &tc.req, "01234567-7@3", now)
			got, ok := testSecret.read(token)
			tc.want.place = "01234567-7@3"
			left := got.expires - now.Unix()
			tc.want.expires = got.expires
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(pass{})); !ok || diff != "" {
				t.Errorf("read %v (-want +got):\n%s", ok, diff)
			}
			if left <= passStep || left > 2*passStep {
				t.Errorf("it expires in %d s", left)
			}
		})
	}
	if tokenFor(testSecret, &tiergate.Request{Set: strings.Repeat("s", tiergate.MaxNameLength+1)}, "", now) != nil {
		t.Error("a set whose name is too long to exist has a token")
	}
}

// A token in which anything was changed is not accepted, nor one that another secret signed.
func TestToken_that_was_tampered_with_is_refused(t *testing.T) {
	req := tiergate.Request{Set: "default", UserID: "alice"}
	token := tokenFor(testSecret, &req, "01234567-7", time.Unix(1_800_000_000, 0))
	if _, ok := testSecret.read(token); !ok {
		t.Fatal("the token itself is refused")
	}
	refused := func(what string, token []byte) {
		t.Helper()
		if p, ok := testSecret.read(token); ok {
			t.Errorf("%s is accepted as %+v", what, p)
		}
	}
	for i := range token {
		for _, c := range []byte("A_z") {
			changed := bytes.Clone(token)
			if changed[i] == c {
				continue
			}
			changed[i] = c
			refused("a changed character", changed)
		}
		refused("a beginning", token[:i])
		refused("an end", token[i+1:])
		refused("a line feed in it", append(append(bytes.Clone(token[:i]), '\n'), token[i:]...))
	}
	refused("nothing", nil)
	refused("more", append(bytes.Clone(token), 'A'))
	refused("padding", append(bytes.Clone(token), '='))
	refused("one that is too long", bytes.Repeat([]byte("A"), maxTokenText+4))
	refused("another secret's", tokenFor(newSecret([]byte("another secret of 32 bytes or so")), &req, "01234567-7", time.Unix(1_800_000_000, 0)))
	said, _ := base64.RawURLEncoding.DecodeString(string(token))
	unsigned := slices.Concat(said[:len(said)-32], make([]byte, 32))
	refused("one without a signature", []byte(base64.RawURLEncoding.EncodeToString(unsigned)))
}

// The same question has the same token for as long as its step lasts and no revision comes, and a
// new one long before the old one expires; the steps of subjects begin at different times.
func TestToken_is_the_same_during_a_step(t *testing.T) {
	ends := map[int64]bool{}
	for _, user := range []string{"", "alice", "bob", "carol", "dave", "ivan"} {
		req := tiergate.Request{Set: "default", UserID: user}
		const begin = 1_800_000_000
		token := func(now int64, place string) string {
			return string(tokenFor(testSecret, &req, place, time.Unix(now, 0)))
		}
		seen, last := map[string]bool{}, ""
		for now := int64(begin); now < begin+2*passStep; now += 60 {
			next := token(now, "01234567-7")
			if next != last && seen[next] {
				t.Fatalf("%s: a token comes back after %d s", user, now-begin)
			}
			seen[next], last = true, next
			p, _ := testSecret.read([]byte(next))
			if left := p.expires - now; left <= passStep || left > 2*passStep {
				t.Fatalf("%s: it expires in %d s", user, left)
			}
			ends[p.expires%passStep] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: there are %d tokens in two steps, which meet three", user, len(seen))
		}
		if token(begin, "01234567-8") == token(begin, "01234567-7") {
			t.Errorf("%s: two revisions have one token", user)
		}
	}
	if len(ends) != 6 {
		t.Errorf("six subjects' passes expire at %d different times", len(ends))
	}
	for _, past := range []int64{0, 1, -1, -passStep} { // a machine whose clock was never set
		if left := expiryOf(nil, past) - past; left <= passStep || left > 2*passStep {
			t.Errorf("at %d a pass expires in %d s", past, left)
		}
	}
}

// Whatever is sent for a token, there is no panic, and only what was signed is accepted.
func FuzzToken(f *testing.F) {
	for _, req := range []tiergate.Request{
		{},
		{Set: "default", UserID: "alice", TeamID: "acme"},
		{Set: "s", Key: &tiergate.Key{ID: "k"}},
		{Set: "s", UserID: strings.Repeat("u", 2*maxSubject)},
	} {
		f.Add(tokenFor(testSecret, &req, "01234567-7@12", time.Unix(1_800_000_000, 0)))
	}
	f.Add([]byte("AQAHZGVmYXVsdA"))
	f.Add([]byte("=\n%"))
	f.Fuzz(func(t *testing.T, token []byte) {
		p, ok := testSecret.read(token)
		if !ok {
			return
		}
		key := &tiergate.Key{ID: p.key}
		req := tiergate.Request{Set: p.audience.Set, UserID: p.audience.UserID, TeamID: p.audience.TeamID}
		if p.key != "" {
			req.Key = key
		}
		if p.audience.Everyone {
			req.UserID = strings.Repeat("u", 2*maxSubject)
		}
		subject, _ := appendSubject(nil, &req, false)
		again, _ := appendToken(nil, subject, []byte(p.place), p.expires, testSecret.signer())
		if !bytes.Equal(again, token) {
			t.Errorf("%q is accepted and stands for %q", token, again)
		}
	})
}

// Whatever was signed is read without a panic: another version may have signed it.
func FuzzPass(f *testing.F) {
	subject, _ := appendSubject(nil, &tiergate.Request{Set: "default", UserID: "alice"}, false)
	f.Add(string(append(append(subject, 1, 'x'), make([]byte, 8)...)))
	f.Add("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Add("\x01\x00\x80\x00")
	f.Fuzz(func(t *testing.T, said string) {
		p, ok := passOf(said)
		if n := len(p.audience.Set) + len(p.audience.UserID) + len(p.audience.TeamID) + len(p.key) + len(p.place); ok && n > len(said) {
			t.Errorf("%q says more than it is long", said)
		}
	})
}
