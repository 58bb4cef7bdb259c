package ledgertest

import "testing"

// Run tells every rule as an example.
func Run(t *testing.T, w World) {
}
