// Package admin is the door for the people who run an environment: a Fiber API with which
// they change flags, tiers, limits and policies and look at teams and users.
//
// One request goes through the guards that know nothing of nouns (app.go, guard.go), is
// asked who it is and whether it may (auth.go, by the one table in routes.go), is parsed
// and checked by huma against the types that also make the OpenAPI document, and ends in
// the file of its noun (feature.go, tier.go, …), which speaks only the root package's
// services. Every error leaves as application/problem+json through problem.go.
package admin
