package tiergate

import (
	"strconv"
	"strings"
)

// A Fallback is what a limit says about the time when nobody who counts can be asked, and
// what was handed out beforehand is used up or out of date: Limit.OnUnavailable, parsed. The
// zero value denies.
type Fallback struct {
	// Allow lets everything through; it is recorded, and counted later.
	Allow bool
	// UpTo lets that many units through, of those that were handed out beforehand.
	UpTo int64
}

// ParseFallback reads "deny" (also ""), "allow" or "allowUpTo(n)", n being 1 to MaxAmount.
func ParseFallback(s string) (Fallback, error) {
	switch s {
	case "", "deny":
		return Fallback{}, nil
	case "allow":
		return Fallback{Allow: true}, nil
	}
	digits, ok := strings.CutPrefix(s, "allowUpTo(")
	digits, closed := strings.CutSuffix(digits, ")")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !closed || err != nil || n < 1 || n > MaxAmount || strconv.FormatInt(n, 10) != digits {
		return Fallback{}, FieldErrorf("onUnavailable", "onUnavailable %.40q is none of deny, allow, allowUpTo(n) with n from 1 to 2^53", s)
	}
	return Fallback{UpTo: n}, nil
}
