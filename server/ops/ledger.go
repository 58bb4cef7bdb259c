package ops

import (
	"fmt"
	"math"
	"time"
)

// A Ledger is how the whole ledger does, for those who may look at all of it. Its figures are
// of AsOf, however long ago that is: whoever reads them is told their age as well. The zero
// Ledger is one that nobody could look at yet, of which there are no figures.
type Ledger struct {
	Forfeited int64     // units that are set aside for lost processes
	Lost      int64     // these processes
	AsOf      time.Time // when it was last looked at; zero: never
}

// ledgerOld is the age past which the figures of a ledger, which is looked at each half
// minute, are a problem.
const ledgerOld = 2 * time.Minute

// age is how old the figures are; negative when there are none.
func (l *Ledger) age(now time.Time) time.Duration {
	if l.AsOf.IsZero() {
		return -1
	}
	return max(0, now.Sub(l.AsOf))
}

func (to sink) ledger(l *Ledger, now time.Time) {
	age := l.age(now)
	if age < 0 {
		to.gauge(ledgerAgeDesc, math.Inf(1))
		return
	}
	to.gauge(ledgerAgeDesc, age.Seconds())
	to.gauge(forfeitedDesc, float64(l.Forfeited))
	to.gauge(lostDesc, float64(l.Lost))
}

// ledgerStatus is what /status tells of a Ledger. All but AsOf, which is left out then, are
// null when nobody could look at it yet.
type ledgerStatus struct {
	Forfeited *int64    `json:"forfeited"`
	Lost      *int64    `json:"lost"`
	AsOf      time.Time `json:"asOf,omitzero"`
	AgeMs     *int64    `json:"ageMs"`
}

func (l *Ledger) status(now time.Time) *ledgerStatus {
	age := l.age(now)
	if age < 0 {
		return &ledgerStatus{}
	}
	ms := age.Milliseconds()
	return &ledgerStatus{Forfeited: &l.Forfeited, Lost: &l.Lost, AsOf: l.AsOf.UTC(), AgeMs: &ms}
}

func (l *Ledger) problems(now time.Time) []string {
	var out []string
	switch age := l.age(now); {
	case age < 0:
		out = append(out, "nobody could look at the whole ledger yet: the database has not answered")
	case age > ledgerOld:
		out = append(out, fmt.Sprintf("what is told of the whole ledger is %s old: the database has not answered since", age.Round(time.Second)))
	}
	if l.Forfeited > 0 {
		out = append(out, fmt.Sprintf("%d units are set aside for %d lost processes until somebody reconciles them: see tiergate limits list", l.Forfeited, l.Lost))
	}
	return out
}
