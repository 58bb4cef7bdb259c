package tiergate

// maxLedger bounds every number in a message to a ledger, so that sums of some never overflow.
const maxLedger = int64(1) << 60

// Validate says what no ledger takes: the same bucket twice, or a number that is negative or
// absurd. The error is Invalid.
func (x *Exchange) Validate() error {
	if x.Holder == "" || x.Token == "" {
		return FieldErrorf("holder", "an exchange names its holder and has a token")
	}
	seen := make(map[Bucket]bool, len(x.Asks))
	for i := range x.Asks {
		a := &x.Asks[i]
		if seen[a.Bucket] {
			return FieldErrorf("asks", "limit %s of %s %s is asked for twice", a.Bucket.Limit, a.Bucket.Scope, a.Bucket.Subject)
		}
		seen[a.Bucket] = true
		for _, n := range []int64{a.Amount, a.Rev, a.Fence, a.Granted, a.Spent, a.Need, a.Least, a.Want} {
			if n < 0 || n > maxLedger {
				return FieldErrorf("asks", "limit %s: %d is not between 0 and 2^60", a.Bucket.Limit, n)
			}
		}
	}
	clear(seen)
	for _, r := range x.Rates {
		if seen[r.Bucket] {
			return FieldErrorf("rates", "rate %s of %s %s is asked for twice", r.Bucket.Limit, r.Bucket.Scope, r.Bucket.Subject)
		}
		seen[r.Bucket] = true
	}
	return nil
}

// Validate says what no ledger takes, as Exchange.Validate does.
func (r *Reservation) Validate() error {
	if r.ID == "" || len(r.ID) > 256 {
		return FieldErrorf("id", "the id of a reservation has 1 to 256 bytes")
	}
	seen := make(map[Bucket]bool, len(r.Holds))
	for _, h := range r.Holds {
		if seen[h.Bucket] {
			return FieldErrorf("holds", "limit %s of %s %s is held twice", h.Bucket.Limit, h.Bucket.Scope, h.Bucket.Subject)
		}
		seen[h.Bucket] = true
		if h.Kind != Quota && h.Kind != Concurrency {
			return FieldErrorf("holds", "a %s cannot be held", h.Kind)
		}
		for _, n := range []int64{h.Units, h.Amount, h.Rev} {
			if n < 0 || n > maxLedger {
				return FieldErrorf("holds", "limit %s: %d is not between 0 and 2^60", h.Bucket.Limit, n)
			}
		}
	}
	return nil
}
