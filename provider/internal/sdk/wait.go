package sdk

import "github.com/tiergate/tiergate/internal/backoff"

// A Backoff is how long to wait before the next attempt.
type Backoff = backoff.Backoff
