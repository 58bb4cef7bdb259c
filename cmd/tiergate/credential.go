package main

import (
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/server"
)

// credential resolves API keys against the generation in force, for a door that needs
// scope; nil when nobody needs a key. A key that is not valid is Unauthorized; one that is
// and may not be used here is Forbidden.
func credential(auth string, e *evaluator.Engine, scope string) server.Resolver {
	if auth != "keys" {
		return nil
	}
	return func(text string) (*tiergate.Key, error) {
		presented, err := tiergate.ParseKey(text)
		if err != nil {
			return nil, err
		}
		g := e.Current()
		if g == nil {
			return nil, tiergate.Errorf(tiergate.Unavailable, "no keys are known yet")
		}
		key, _ := g.View().Key(presented.ID) // nil opens nothing
		if !presented.Opens(key, time.Now()) {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "the API key is not valid")
		}
		if !key.Allows(scope) {
			return nil, tiergate.Errorf(tiergate.Forbidden, "the API key does not have the scope %q", scope)
		}
		if team := g.View().Team(key.TeamID); team == nil || team.Status != "active" {
			return nil, tiergate.Errorf(tiergate.Forbidden, "the API key's team is suspended")
		}
		return key, nil
	}
}
