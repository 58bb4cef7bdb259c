// Package postgres is everything that is said to Postgres: the services that keep flags,
// tiers, limits, policies, teams and users, the schema's migration, and the change feed
// that sidecars follow.
package postgres
