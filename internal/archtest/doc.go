// Package archtest holds the map of which room may import which, as a test.
package archtest
