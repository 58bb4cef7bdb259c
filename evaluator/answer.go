package evaluator

import (
	"strconv"
	"strings"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/policy"
)

func notFound(name string) tiergate.Decision {
	return tiergate.Decision{
		Flag: name, Reason: tiergate.ReasonError, ErrorCode: tiergate.FlagNotFound, ErrorDetails: "there is no such flag",
	}
}

// answer is what every decision about the flag has.
func (f *flag) answer(reason tiergate.Reason) tiergate.Decision {
	return tiergate.Decision{Flag: f.name, Type: f.typ, Reason: reason, Metadata: f.metadata, Metered: f.metered}
}

func (f *flag) disabled() tiergate.Decision { return f.answer(tiergate.ReasonDisabled) }

func (f *flag) failed(code tiergate.ErrorCode, details string) tiergate.Decision {
	d := f.answer(tiergate.ReasonError)
	d.ErrorCode, d.ErrorDetails = code, details
	return d
}

// unanswered is what is said when the policy has no answer; it may have one soon when all it
// lacked was time or room. What of the policy is at fault is for operators: see policy.Stats.
func (f *flag) unanswered(err error) tiergate.Decision {
	d := f.failed(tiergate.General, policy.PublicMessage(err))
	d.Transient = tiergate.CodeOf(err) == tiergate.Unavailable
	return d
}

// served is a variant for a reason. Without a variant the caller's code default applies,
// which is reason DEFAULT to every client.
func (f *flag) served(tier string, v *variant, reason tiergate.Reason) tiergate.Decision {
	d := f.answer(reason)
	d.Tier, d.Variant, d.Value = tier, v.name, v.value
	if v.value == nil {
		d.Reason = tiergate.ReasonDefault
	}
	return d
}

func (f *flag) denied(a policy.Access) tiergate.Decision {
	d := f.served(a.Tier, f.off, tiergate.ReasonTargetingMatch)
	d.Denied, d.DenyReason, d.Upgrade = true, a.Reason, a.Upgrade
	return d
}

// pick puts the variant of that name into d, or an error when the flag has none.
func (f *flag) pick(d *tiergate.Decision, name string) bool {
	v := f.variant(name)
	if v == nil {
		*d = f.failed(tiergate.General, "there is no variant "+strconv.Quote(shortened(name)))
		return false
	}
	d.Variant, d.Value, d.Reason = v.name, v.value, tiergate.ReasonTargetingMatch
	return true
}

// shortened is a copy of at most 80 bytes: the name may be the caller's.
func shortened(s string) string { return strings.Clone(s[:min(len(s), 80)]) }

// inShare says whether a user is in the flag's percentage. 100 needs no user.
func (f *flag) inShare(userID string) bool {
	switch f.weight {
	case everyone:
		return true
	case 0:
		return false
	}
	return userID != "" && targeting.InShare(f.name, userID, f.weight)
}
