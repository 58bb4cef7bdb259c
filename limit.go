package tiergate

import (
	"slices"
	"strings"
	"time"
)

// LimitKind says what a limit counts.
type LimitKind string

// The kinds of limits.
const (
	Quota       LimitKind = "quota"       // n per period
	Rate        LimitKind = "rate"        // n per second or minute, with burst
	Concurrency LimitKind = "concurrency" // n at once
	Gauge       LimitKind = "gauge"       // n held, such as seats
)

// A Limit is a rule on a feature name, which needs no flag. What it grants depends on
// the subject's tier.
type Limit struct {
	ID      string    `json:"id"`
	Key     string    `json:"key"` // unique
	Feature string    `json:"feature"`
	Kind    LimitKind `json:"kind"`
	Scope   string    `json:"scope"`           // who shares it: "team" or "user"
	Class   string    `json:"class,omitempty"` // "exact" (the default of quotas) or "local" or "leased" (rates)
	// Period is "second" or "minute" for a rate, "hour", "day", "week", "month", "year"
	// or "lifetime" for a quota, and "" otherwise.
	Period string `json:"period,omitempty"`
	Zone   string `json:"zone,omitempty"` // IANA zone of calendar periods and of Anchor; "" is UTC
	// Anchor is when the first period of a quota began, such as "2026-01-31" or
	// "2026-01-31T15:00:00": the others begin as far apart as the period says, in Zone. "" is
	// the calendar: the first of the month, Monday, midnight.
	Anchor string `json:"anchor,omitempty"`
	// Amounts are the units by tier key; null is unlimited, a tier that is left out gets 0.
	Amounts map[string]*int64 `json:"amounts"`
	// Bursts are what a rate lets through at once, by tier key; a tier left out gets its amount.
	Bursts map[string]int64 `json:"bursts,omitempty"`
	Cost   int64            `json:"cost"` // units of one use when the caller names none; 0 means 1
	// OnUnavailable is "deny" (the default), "allow", or "allowUpTo(n)".
	OnUnavailable string `json:"onUnavailable,omitempty"`

	Version   int64     `json:"version,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

var limitPeriods = map[LimitKind][]string{
	Quota:       {"hour", "day", "week", "month", "year", "lifetime"},
	Rate:        {"second", "minute"},
	Concurrency: {""},
	Gauge:       {""},
}

// MaxAmount bounds every amount, so that sums of them never overflow an int64.
const MaxAmount = int64(1) << 53

// Validate says what is wrong; every error is Invalid and names the field.
func (l *Limit) Validate() error {
	for field, name := range map[string]string{"key": l.Key, "feature": l.Feature} {
		if err := validName(field, name); err != nil {
			return err
		}
	}
	periods, ok := limitPeriods[l.Kind]
	if !ok {
		return FieldErrorf("kind", "kind %q is none of quota, rate, concurrency, gauge", l.Kind)
	}
	if err := validPeriod(l.Kind, l.Period, periods); err != nil {
		return err
	}
	if l.Scope != "team" && l.Scope != "user" {
		return FieldErrorf("scope", "scope %q is neither team nor user", l.Scope)
	}
	if !slices.Contains([]string{"", "exact", "local", "leased"}, l.Class) {
		return FieldErrorf("class", "class %q is none of exact, local, leased", l.Class)
	}
	if _, err := LoadZone(l.Zone); err != nil {
		return err
	}
	if err := l.validateAnchor(); err != nil {
		return err
	}
	if _, err := ParseFallback(l.OnUnavailable); err != nil {
		return err
	}
	return l.validateAmounts()
}

func validPeriod(kind LimitKind, period string, allowed []string) error {
	switch {
	case slices.Contains(allowed, period):
		return nil
	case allowed[0] == "":
		return FieldErrorf("period", "a %s limit has no period", kind)
	}
	return FieldErrorf("period", "period %q of a %s is none of %s", period, kind, strings.Join(allowed, ", "))
}

func (l *Limit) validateAnchor() error {
	if l.Anchor == "" {
		return nil
	}
	if l.Kind != Quota || l.Period == "lifetime" {
		return FieldErrorf("anchor", "only a quota that begins anew has an anchor")
	}
	_, err := ParseAnchor(l.Anchor)
	return err
}

func (l *Limit) validateAmounts() error {
	for tier, n := range l.Amounts {
		if n != nil && (*n < 0 || *n > MaxAmount) {
			return FieldErrorf("amounts."+tier, "amount %d is not between 0 and 2^53", *n)
		}
	}
	for tier, n := range l.Bursts {
		if l.Kind != Rate || n < 1 || n > MaxAmount {
			return FieldErrorf("bursts."+tier, "burst %d: only a rate has bursts, of 1 to 2^53", n)
		}
	}
	if l.Cost < 0 || l.Cost > MaxAmount {
		return FieldErrorf("cost", "cost %d is not between 0 and 2^53", l.Cost)
	}
	return nil
}

// An Override replaces the amount of one limit, or the tier's access to one feature,
// for one team or one user.
type Override struct {
	ID        string    `json:"id"`
	TeamID    string    `json:"teamId,omitempty"` // exactly one of TeamID and UserID is set
	UserID    string    `json:"userId,omitempty"`
	LimitKey  string    `json:"limitKey"`
	Amount    *int64    `json:"amount"` // nil is unlimited
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// A Grant adds units to one limit for one team or one user; grants are spent by
// Priority (lower first), then earliest expiry.
type Grant struct {
	ID        string    `json:"id"`
	TeamID    string    `json:"teamId,omitempty"` // exactly one of TeamID and UserID is set
	UserID    string    `json:"userId,omitempty"`
	LimitKey  string    `json:"limitKey"`
	Amount    int64     `json:"amount"`
	Priority  int       `json:"priority"`
	StartsAt  time.Time `json:"startsAt,omitzero"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}
