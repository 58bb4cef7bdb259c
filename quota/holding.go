package quota

import "github.com/tiergate/tiergate"

// A holding is what a holder knows of its lease of one bucket, as plain data: everything
// that may happen to a lease happens through these methods. Its zero value is a lease that
// was never asked for. See tiergate.LeaseAsk for the words.
type holding struct {
	fence, granted, spent int64
	// under is the largest amount that was asked with under this fence: units may have been
	// granted under it, whether or not the answer was heard. Under a lower limit they may
	// not be spent.
	under int64
	// sealed says that the ledger is told, or was told, that nothing is spent under this fence.
	sealed bool
}

// rest is how many units may be spent.
func (h *holding) rest() int64 { return h.granted - h.spent }

// spend takes n units for somebody whom the limit allows amount in all.
func (h *holding) spend(n, amount int64) bool {
	if amount < h.under && h.rest() > 0 {
		h.drop()
	}
	if h.rest() < n {
		return false
	}
	h.spent += n
	return true
}

// undo takes back a spend of n units, made under a fence, that led to nothing and was not
// recorded. Under another fence by now, they go back to the ledger, which is asked once more
// even when it was told already that nothing is held.
func (h *holding) undo(n, fence int64) {
	h.spent -= n
	if fence != h.fence || h.sealed {
		h.drop()
	}
}

// drop gives back all that is left: the ledger hears of it with the next ask, whose fence
// says that whatever was said before is late.
func (h *holding) drop() {
	h.granted, h.under, h.sealed = h.spent, 0, false
	h.fence++
}

// ask makes the next message about the lease. Wanting nothing gives back what is left, and so
// does a lower amount than before.
func (h *holding) ask(a tiergate.LeaseAsk) tiergate.LeaseAsk {
	a.Seal = a.Need == 0 && a.Want == 0
	if a.Seal != h.sealed || h.fence == 0 || a.Amount < h.under {
		h.drop()
		h.sealed = a.Seal
	}
	if !a.Seal {
		h.under = max(h.under, a.Amount)
	}
	a.Fence, a.Granted, a.Spent = h.fence, h.granted, h.spent
	return a
}

// heed takes in what the ledger answered to an ask.
func (h *holding) heed(ask *tiergate.LeaseAsk, answer *tiergate.LeaseAnswer) {
	switch {
	case ask.Fence != h.fence || h.sealed: // of before, or all is given back
	case answer.State != tiergate.LeaseActive:
		h.drop()
	case answer.Granted > h.granted:
		h.granted = answer.Granted
	}
}

// A chain is the tokens of a holder's messages.
type chain struct {
	previous, token string
}

// next makes the tokens of the next message. Until one was answered, all have the same.
func (c *chain) next(mint func() string) (previous, token string) {
	if c.token == "" {
		c.token = mint()
	}
	return c.previous, c.token
}

// answered says that the ledger has the newest token.
func (c *chain) answered() { c.previous, c.token = c.token, "" }
