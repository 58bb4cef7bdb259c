package syncer

import (
	"log/slog"
	"time"

	"github.com/tiergate/tiergate"
)

// Config says what a Syncer connects. Source and Applier are required.
type Config struct {
	Source  tiergate.Source
	Applier tiergate.Applier
	// Name is the source's name in Freshness and logs, such as "postgres" or "file".
	Name string

	// Dir is the data directory, where the last-known-good state is kept; "" keeps none.
	// It is made with mode 0700 when it is missing. One process uses it at a time.
	Dir string
	// KeyFile holds the key that authenticates the last-known-good state, 32 bytes or
	// more; "" is a random key that is made in Dir.
	KeyFile string

	Log *slog.Logger // nil discards

	// Grace is how long the source has to answer before the last-known-good state is put
	// in force; a source that fails is not waited for. Default 150 ms.
	Grace time.Duration
	// SaveEvery is the least time between two saves of the state, except after a delete
	// or a revocation. Default 5 s.
	SaveEvery time.Duration
	// Patience is how long the source may be silent before it is asked anew. Default 60 s.
	Patience time.Duration
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name == "" {
		c.Name = "source"
	}
	orElse := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	orElse(&c.Grace, 150*time.Millisecond)
	orElse(&c.SaveEvery, 5*time.Second)
	orElse(&c.Patience, time.Minute)
	return c
}
