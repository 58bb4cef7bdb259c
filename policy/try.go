package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// try compiles a policy and asks every entry point everyday and worst-case questions. It
// runs in the child process of Admit.
func try(modules map[string]string, defs Definitions) error {
	e, err := Settings{patience: 10}.Compile(modules, defs)
	if err != nil {
		return err
	}
	if _, err := withTests(modules); err != nil {
		return err // the tests are kept with the policy
	}
	if err := e.trySamples(slices.Concat(everyday(e, defs), e.telling(modules, defs), worst(e, defs))); err != nil {
		return err
	}
	if len(defs.Tiers) == 0 {
		guess, err := e.guessTiers(modules, defs)
		if err != nil {
			return err
		}
		if err := guess.trySamples(everyday(guess, defs)); err != nil {
			return err
		}
	}
	return e.tryAdmin()
}

func (e *Engine) trySamples(all []sample) error {
	for _, s := range all {
		if err := e.tryDecision(s); err != nil {
			return err
		}
	}
	return nil
}

// tryDecision asks for one decision. Any answer of the right shape will do, and so will
// none where there are attributes that nobody may ever send; a conflict, a wrong shape, a
// tier that is not defined and an overrun will not.
func (e *Engine) tryDecision(s sample) error {
	access, err := patiently(e, func() (Access, error) { return e.sampled(s.in) })
	if err := verdict(err, s.String(), s.in.Attributes.Len() > 0); err != nil {
		return err
	}
	_, err = patiently(e, func() ([]Limit, error) { return e.findLimits(s.in, access.Tier) })
	return verdict(err, s.String(), s.in.Attributes.Len() > 0)
}

// sampled is decide, but where there are many tiers without the search for one that would
// be allowed: there are samples on each tier.
func (e *Engine) sampled(in *Input) (Access, error) {
	return e.decideWith(in, len(e.definitions.tiers) <= thoroughTiers)
}

// patiently tries up to five times: a machine that is busy with other things is not the
// policy's fault.
func patiently[T any](e *Engine, ask func() (T, error)) (answer T, err error) {
	for range 5 {
		before := e.overruns.Load()
		if answer, err = ask(); e.overruns.Load() == before {
			return answer, err
		}
		e.resting.forget()
	}
	return answer, err
}

// verdict makes a refusal of an error, with the place in the policy that it comes from.
func verdict(err error, tried string, mayBeUndefined bool) error {
	if err == nil || mayBeUndefined && errors.Is(err, errUndefined) {
		return nil
	}
	problem := Problem{Message: err.Error()}
	if f, ok := errors.AsType[*failure](err); ok {
		problem = f.Problem
	}
	problem.Message = "tried out with " + tried + ": " + problem.Message
	return &Error{Problems: []Problem{problem}}
}

// tryAdmin asks who may do what in every platform role, and makes sure that a policy does
// not lock everybody out: an admin can always publish another one.
func (e *Engine) tryAdmin() error {
	actions := []string{"policies.read", "policies.check", "policies.publish", "flags.read", "flags.write", "tiers.write", "limits.write", "teams.read", "playground.use", "unheard.of"}
	long := strings.Repeat("x", 1000)
	for _, resource := range []map[string]any{nil, {"kind": "flags", "id": "default/checkout"}, {"kind": long, "id": long, "more": []any{1, true, nil, long}}} {
		for _, role := range []tiergate.PlatformRole{tiergate.PlatformAdmin, tiergate.PlatformEditor, tiergate.PlatformViewer, "", "owner"} {
			for _, action := range actions {
				in := AdminInput{Caller: tiergate.Caller{ID: "token:" + string(role), Role: role}, Action: action, Resource: resource}
				ok, err := patiently(e, func() (bool, error) { return e.allowAdmin(in) })
				if err := verdict(err, fmt.Sprintf("the role %q that asks for %s", role, action), false); err != nil {
					return err
				}
				if !ok && role == tiergate.PlatformAdmin && strings.HasPrefix(action, "policies.") {
					return refuseAt(e.admin.rule, "%s denies %s to the role admin: nobody could publish another policy", adminPoint, action)
				}
			}
		}
	}
	return nil
}
