package tiergate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// A minted key opens what was stored of it, until it is revoked or expires.
func TestKey_opens(t *testing.T) {
	text, id, hash := tiergate.MintKey("dev")
	p, err := tiergate.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	key := tiergate.Key{ID: id, Hash: hash, State: tiergate.KeyActive}
	if p.ID != id || p.Env != "dev" || !p.Opens(&key, now) {
		t.Errorf("%+v does not open %+v", p, key)
	}
	revoked, expired, other := key, key, key
	revoked.State = tiergate.KeyRevoked
	expired.ExpiresAt = now
	_, _, other.Hash = tiergate.MintKey("dev")
	for name, k := range map[string]*tiergate.Key{"revoked": &revoked, "expired": &expired, "another": &other, "unknown": nil} {
		if p.Opens(k, now) {
			t.Errorf("the key opens a key that is %s", name)
		}
	}
}

// A key may be used for the scopes it has, by their exact words, and without any for nothing.
func TestKey_allows(t *testing.T) {
	for name, c := range map[string]struct {
		key  *tiergate.Key
		want bool
	}{
		"the scope":        {&tiergate.Key{Scopes: []string{"consume", tiergate.ScopeEvaluate}}, true},
		"another scope":    {&tiergate.Key{Scopes: []string{"Evaluate", "evaluate "}}, false},
		"no scopes at all": {&tiergate.Key{}, false},
		"no key":           {nil, false},
	} {
		if got := c.key.Allows(tiergate.ScopeEvaluate); got != c.want {
			t.Errorf("%s: Allows = %t", name, got)
		}
	}
}

// A key with any one character changed is refused, and the error does not repeat it.
func TestParseKey_refuses_any_changed_character(t *testing.T) {
	text, _, _ := tiergate.MintKey("dev")
	for i := range text {
		changed := text[:i] + string(text[i]^1) + text[i+1:]
		_, err := tiergate.ParseKey(changed)
		if tiergate.CodeOf(err) != tiergate.Unauthorized {
			t.Errorf("character %d changed: %v", i, err)
		} else if strings.Contains(err.Error(), text[8:20]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

// No text makes ParseKey panic, and what it accepts has the documented form.
func FuzzParseKey(f *testing.F) {
	text, _, _ := tiergate.MintKey("dev")
	for _, s := range []string{text, "tg_", "tg_dev_a_b_c", strings.Repeat("_", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := tiergate.ParseKey(s); err == nil && (len(p.ID) != 12 || !strings.HasPrefix(s, "tg_"+p.Env+"_"+p.ID+"_")) {
			t.Errorf("ParseKey(%q) = %+v", s, p)
		}
	})
}

// Resume tokens read back as written, and nothing else is accepted.
func FuzzParseResume(f *testing.F) {
	for _, s := range []string{"0190a:7:ff:1", "::0:", ":0::0", "a:b:c:d", "e:-1:x:1", "e:01:x:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := tiergate.ParseResume(s); err == nil && r.String() != s {
			t.Errorf("ParseResume(%q).String() = %q", s, r.String())
		}
	})
}
