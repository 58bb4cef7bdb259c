package quota

// RateKeyOf makes a key of what a hash would give.
func RateKeyOf(hi, lo uint64) RateKey { return RateKey{hi, lo} }
