package server

import (
	"testing"
	"time"
)

// StretchFarewell lets clients on kept connections take their time until the test ends.
func StretchFarewell(t *testing.T) {
	was := farewell
	farewell = 20 * time.Second
	t.Cleanup(func() { farewell = was })
}
