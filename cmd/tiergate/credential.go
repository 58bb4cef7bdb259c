package main

import (
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// credential resolves API keys against the generation in force and what has been withdrawn
// since, for a door that needs scope, or that looks at scopes itself when it is ""; nil when
// nobody needs a key. A key that is not valid is Unauthorized; one that is and may not be used
// here is Forbidden.
func credential(auth string, r *replica, scope string) server.Resolver {
	if auth != "keys" {
		return nil
	}
	return func(text string) (*tiergate.Key, error) {
		presented, err := tiergate.ParseKey(text)
		if err != nil {
			return nil, err
		}
		g := r.engine.Current()
		if g == nil {
			return nil, tiergate.Errorf(tiergate.Unavailable, "no keys are known yet")
		}
		key, _ := g.View().Key(presented.ID) // nil opens nothing
		if !presented.Opens(key, time.Now()) || r.syncer.Withdrawn(presented.ID) {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "the API key is not valid")
		}
		if scope != "" && !key.Allows(scope) {
			return nil, tiergate.Errorf(tiergate.Forbidden, "the API key does not have the scope %q", scope)
		}
		if team := g.View().Team(key.TeamID); team == nil || team.Status != tiergate.TeamActive {
			return nil, tiergate.Errorf(tiergate.Forbidden, "the API key's team is suspended")
		}
		return key, nil
	}
}
