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
		return usable(r, presented.ID, scope, func(key *tiergate.Key) bool { return presented.Opens(key, time.Now()) })
	}
}

// keyByID finds API keys for who has shown already that one was presented: the key, or why it may
// not be used any more to ask for decisions, as credential says it; nil when nobody needs a key.
func keyByID(auth string, r *replica) func(id string) (*tiergate.Key, error) {
	if auth != "keys" {
		return nil
	}
	return func(id string) (*tiergate.Key, error) {
		return usable(r, id, tiergate.ScopeEvaluate, func(key *tiergate.Key) bool { return key.Usable(time.Now()) })
	}
}

// usable returns the key of an id when it opens and may be used for what scope names, "" for
// anything. opens is asked about nil when there is no such key.
func usable(r *replica, id, scope string, opens func(*tiergate.Key) bool) (*tiergate.Key, error) {
	g := r.engine.Current()
	if g == nil {
		return nil, tiergate.Errorf(tiergate.Unavailable, "no keys are known yet")
	}
	key, _ := g.View().Key(id) // nil opens nothing
	if !opens(key) || r.syncer.Withdrawn(id) {
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
