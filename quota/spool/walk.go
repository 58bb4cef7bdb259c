package spool

// Walk hands all records over that are kept, also those that the ledger has counted already,
// in order, and moves nothing. The first error of f ends it and is returned.
func (l *Log) Walk(f func(Record) error) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	at := l.at
	defer func() { l.at, l.ahead = at, at }()
	if first, known, err := l.find(l.kept()); err == nil && known {
		l.at = first
	}
	const records, bytes = 10_000, 4 << 20
	for {
		b, again, err := l.read(records, bytes)
		switch {
		case err != nil:
			return err
		case again:
			continue
		case b.From == b.To:
			return nil
		}
		for _, r := range b.Records {
			if err := f(r); err != nil {
				return err
			}
		}
		l.at = l.ahead
	}
}

// Uploaded is how many records the ledger has counted, and End how many there are, both
// since the log began.
func (l *Log) Uploaded() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.cursor.number
}

// End is the number that the next record gets; see Uploaded.
func (l *Log) End() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.end.number
}
