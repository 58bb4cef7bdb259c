package spool

import "encoding/binary"

// What scan finds in the bytes of a segment.
type scanned struct {
	end  int64 // one past the number of the last record that reads
	used int64 // where that ends
	// later is one past the highest number of a record that proves that what does not read
	// had been durable: then it is damage, not a torn end. 0 when there is none.
	later int64
	torn  int64 // how many bytes follow, up to the last that is not zero
}

// scan reads the records of a segment from its first on, up to and without the number
// limit. Only of the last segment it is asked whether what does not read is a torn end.
func scan(data []byte, h header, seed uint32, limit int64, last bool) scanned {
	s := scanned{end: h.start.number, used: headerSize}
	for s.end < limit {
		rec := recordAt(data[s.used:], seed, s.end)
		if rec == nil {
			break
		}
		s.end++
		s.used += int64(len(rec))
	}
	if last {
		s.later, s.torn = search(data[s.used:], seed, s.end)
	}
	return s
}

// search looks behind a record that does not read for one that tells what it was.
func search(data []byte, seed uint32, missing int64) (later, torn int64) {
	most := missing + int64(len(data)/recordHead)
	for i := range data {
		if data[i] != 0 {
			torn = int64(i) + 1
		}
		if len(data)-i < recordHead {
			continue
		}
		number := int64(binary.LittleEndian.Uint64(data[i+8:]))
		if number <= missing || number > most {
			continue
		}
		if rec := recordAt(data[i:], seed, number); rec != nil && groupOf(rec) > missing {
			later = max(later, number+1)
		}
	}
	return later, torn
}
