// Package faultproxy stands between a program and its Postgres in tests, and breaks
// connections at the worst moment: when a transaction is committed and nobody knows yet.
package faultproxy
