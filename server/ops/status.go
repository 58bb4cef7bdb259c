package ops

import (
	"fmt"
	"time"
)

// maxListed is how many quarantined flags the page lists.
const maxListed = 1000

// status is what /status tells.
type status struct {
	Version     string        `json:"version"`
	Revision    string        `json:"revision"` // "" before the first state
	Epoch       string        `json:"epoch"`
	Ready       bool          `json:"ready"`
	Unready     string        `json:"unready,omitempty"`
	Freshness   freshness     `json:"freshness"`
	Refused     refused       `json:"refused"`
	Quarantined []Quarantined `json:"quarantined"`
	Listeners   []Listener    `json:"listeners"`
	Usage       *Usage        `json:"usage,omitempty"`
	Ledger      *ledgerStatus `json:"ledger,omitempty"`
	Problems    []string      `json:"problems"`
}

type freshness struct {
	AsOf      time.Time `json:"asOf,omitzero"`
	AgeMs     *int64    `json:"ageMs"` // null before the first state
	Connected bool      `json:"connected"`
	Source    string    `json:"source"`
}

type refused struct {
	Count  uint64 `json:"count"`  // since the start
	Newest string `json:"newest"` // the newest refused revision and why; "" when the newest is in force
}

func (s State) status() status {
	fresh := s.freshness()
	out := status{
		Version:     s.Version,
		Unready:     s.unready(),
		Freshness:   freshness{AsOf: fresh.AsOf.UTC(), Connected: fresh.Connected, Source: fresh.Source},
		Refused:     refused{Newest: fresh.Refused},
		Quarantined: []Quarantined{},
		Listeners:   append([]Listener{}, s.Listeners...),
		Problems:    []string{},
	}
	out.Ready = out.Unready == ""
	if gen := s.generation(); gen != nil {
		out.Revision, out.Epoch = gen.Resume().Revision(), gen.Resume().Epoch
	}
	if !fresh.AsOf.IsZero() {
		age := fresh.Age(s.now()).Milliseconds()
		out.Freshness.AgeMs = &age
	}
	if s.Refused != nil {
		out.Refused.Count = s.Refused()
	}
	if s.Quarantined != nil {
		all := s.Quarantined()
		out.Quarantined = append(out.Quarantined, all[:min(len(all), maxListed)]...)
		if more := len(all) - maxListed; more > 0 {
			out.Problems = append(out.Problems, fmt.Sprintf("%d more flags are quarantined than are listed", more))
		}
	}
	if s.Policy != nil {
		out.Problems = append(out.Problems, s.Policy().problems()...)
	}
	if s.Usage != nil {
		out.Usage = s.Usage()
		out.Problems = append(out.Problems, out.Usage.problems()...)
	}
	if l := s.ledger(); l != nil {
		out.Ledger = l.status(s.now())
		out.Problems = append(out.Problems, l.problems(s.now())...)
	}
	if s.Problems != nil {
		out.Problems = append(out.Problems, s.Problems()...)
	}
	return out
}

func (p Policy) problems() []string {
	var out []string
	if p.Resting > 0 {
		out = append(out, fmt.Sprintf("%d callers asked what overran the policy's deadline too often: for a moment they get remembered answers only", p.Resting))
	}
	return append(out, p.Errors...)
}
