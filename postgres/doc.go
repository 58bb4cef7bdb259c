// Package postgres is everything that is said to Postgres: the services that keep flags,
// tiers, limits, policies, teams and users, the schema's migration, the change feed
// that sidecars follow, and the Ledger that keeps what limits count and what was used.
package postgres
