package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
)

// A record on disk, little-endian:
//
//	0  length of the payload  uint32
//	4  CRC32C                 uint32, of all but itself, begun with the segment's seed
//	8  number                 uint64
//	16 time                   int64, Unix nanoseconds, never 0
//	24 place in its group     uint32
//	28 id                     16 bytes
//	44 payload
const (
	recordHead = 44
	// MaxPayload is how long a payload may be.
	MaxPayload = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Record is one entry of the log.
type Record struct {
	ID      [16]byte
	Payload []byte
}

// gather appends a record to a queue. Its number, time and place come with seal.
func gather(queue []byte, id [16]byte, payload []byte) []byte {
	var head [recordHead]byte
	binary.LittleEndian.PutUint32(head[0:], uint32(len(payload)))
	copy(head[28:], id[:])
	return append(append(queue, head[:]...), payload...)
}

// seal completes the record that rec holds.
func seal(rec []byte, seed uint32, number, at int64, place uint32) {
	binary.LittleEndian.PutUint64(rec[8:], uint64(number))
	binary.LittleEndian.PutUint64(rec[16:], uint64(at))
	binary.LittleEndian.PutUint32(rec[24:], place)
	binary.LittleEndian.PutUint32(rec[4:], sumOf(rec, seed))
}

func sumOf(rec []byte, seed uint32) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, rec[:4]), castagnoli, rec[8:])
}

// sizeOf is the size of the record at the start of b, which may be longer; 0 when it is not
// all there.
func sizeOf(b []byte) int {
	if len(b) < recordHead {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n > MaxPayload || recordHead+int(n) > len(b) {
		return 0
	}
	return recordHead + int(n)
}

// recordAt returns the record at the start of b if it is whole and has this number, else nil.
func recordAt(b []byte, seed uint32, number int64) []byte {
	size := sizeOf(b)
	if size == 0 {
		return nil
	}
	rec := b[:size]
	if numberOf(rec) != number || timeOf(rec) == 0 || binary.LittleEndian.Uint32(rec[4:]) != sumOf(rec, seed) {
		return nil
	}
	return rec
}

func numberOf(rec []byte) int64   { return int64(binary.LittleEndian.Uint64(rec[8:])) }
func timeOf(rec []byte) int64     { return int64(binary.LittleEndian.Uint64(rec[16:])) }
func groupOf(rec []byte) int64    { return numberOf(rec) - int64(binary.LittleEndian.Uint32(rec[24:])) }
func payloadOf(rec []byte) []byte { return rec[recordHead:len(rec):len(rec)] }

func idOf(rec []byte) (id [16]byte) {
	copy(id[:], rec[28:])
	return id
}

// A digest is the hash of all records before a place. At the beginning it is zero.
type digest [sha256.Size]byte

// text is the digest as the ledger keeps it.
func (d digest) text() string {
	if d == (digest{}) {
		return ""
	}
	return hex.EncodeToString(d[:])
}

func digestFrom(text string) (digest, error) {
	var d digest
	if text == "" {
		return d, nil
	}
	if len(text) != 2*len(d) {
		return d, errors.New("a hash has 64 digits")
	}
	_, err := hex.Decode(d[:], []byte(text))
	return d, err
}

// lost is the place after a gap at the end of the log.
func (d digest) lost(to int64) mark {
	hash := sha256.Sum256(binary.LittleEndian.AppendUint64(append([]byte("lost"), d[:]...), uint64(to)))
	return mark{to, hash, true}
}

// A chain computes digests. Not safe for concurrent use.
type chain struct {
	at  digest
	sha hash.Hash
}

func newChain(at digest) chain { return chain{at: at, sha: sha256.New()} }

// add goes on by one record. Of the record it hashes what a rewritten one has as well.
func (c *chain) add(rec []byte) {
	c.sha.Reset()
	c.sha.Write(c.at[:])
	c.sha.Write(rec[:4])
	c.sha.Write(rec[8:16])
	c.sha.Write(rec[28:])
	c.sha.Sum(c.at[:0])
}

// A segment's header fills its first sector.
const (
	headerSize  = 512
	headerMagic = "tgusage1"
	headerUsed  = 8 + 16 + 8 + 32 + 8 + 1
)

// A header says whose a segment is and where it begins.
type header struct {
	log   [16]byte
	start mark    // where its first record is
	salt  [8]byte // random: two segments are never alike
}

// encode returns the header's sector, and the seed of its records' checksums.
func (h header) encode() ([]byte, uint32) {
	b := append(make([]byte, 0, headerSize), headerMagic...)
	b = append(b, h.log[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.start.number))
	b = append(b, h.start.hash[:]...)
	b = append(b, h.salt[:]...)
	b = append(b, 0)
	if h.start.lost {
		b[len(b)-1] = 1
	}
	seed := crc32.Checksum(b, castagnoli)
	b = binary.LittleEndian.AppendUint32(b, seed)
	return b[:headerSize], seed
}

func decodeHeader(b []byte) (h header, seed uint32, ok bool) {
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(headerMagic)) {
		return h, 0, false
	}
	copy(h.log[:], b[8:])
	h.start.number = int64(binary.LittleEndian.Uint64(b[24:]))
	copy(h.start.hash[:], b[32:])
	copy(h.salt[:], b[64:])
	h.start.lost = b[72] == 1
	seed = crc32.Checksum(b[:headerUsed], castagnoli)
	return h, seed, h.start.number >= 0 && binary.LittleEndian.Uint32(b[headerUsed:]) == seed
}
