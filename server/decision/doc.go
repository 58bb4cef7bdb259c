// Package decision is the door for applications that ask who may use what, and take it: one
// JSON answer with the flag, the tier, the access and what is left of each limit. Under /v1 it
// checks, consumes and tracks, also in batches, keeps reservations for long jobs and items of
// gauges, and answers the sub-requests of proxies (nginx auth_request, Traefik, Caddy).
//
// What it answers and refuses is in docs/decision-api.md, and in openapi.yaml, which it serves.
package decision
