package ofrep

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// An entity tag is 128 bits of SHA-256: between callers a collision would show one the
// answer of another.
const (
	tagBytes  = 16
	tagLength = 24 // with the quotes
)

func tagOf(content []byte) (tag [tagLength]byte) {
	sum := sha256.Sum256(content)
	tag[0], tag[tagLength-1] = '"', '"'
	base64.RawURLEncoding.Encode(tag[1:], sum[:tagBytes])
	return tag
}

// tagOfQuestion makes a tag of everything that the answer depends on, each part
// length-prefixed, so that no two questions look alike.
func (c *call) tagOfQuestion(d *door, steps tiergate.ClockStep) [tagLength]byte {
	b := c.scratch[:0]
	b = server.AppendText(append(b, "tiergate ofrep 2"...), d.cfg.Version)
	b = server.AppendText(b, c.resume.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(c.resume.Rev))
	b = server.AppendText(b, c.resume.Hash)
	b = server.AppendText(b, c.req.Set)
	b = append(b, flagByte(c.selected), flagByte(c.stale), flagByte(c.req.Key != nil))
	if key := c.req.Key; key != nil {
		b = server.AppendText(server.AppendText(b, key.ID), key.TeamID)
		b = binary.AppendUvarint(b, uint64(len(key.Scopes)))
		for _, scope := range key.Scopes {
			b = server.AppendText(b, scope)
		}
	}
	b = binary.BigEndian.AppendUint64(append(b, byte(steps)), uint64(server.Turn(steps, c.req.Now)))
	b = append(b, flagByte(c.streaming))
	if c.streaming { // a client that has an old token gets a new one, not 304
		b = append(b, d.cfg.Streams.secret.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(c.expires))
	}
	c.scratch = server.AppendCanonical(b, c.req.Attributes)
	return tagOf(c.scratch)
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		a -= b - 1
	}
	return a / b
}

func flagByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// matches reports whether If-None-Match, given as its header lines, names tag: "*" names
// all, and otherwise it is a list of entity tags, compared weakly (RFC 9110 §8.8.3.2). What
// is malformed matches nothing from there on.
func matches(lines [][]byte, tag []byte) bool {
	for _, line := range lines {
		if string(bytes.TrimSpace(line)) == "*" || listHolds(line, tag) {
			return true
		}
	}
	return false
}

func listHolds(list, tag []byte) bool {
	for {
		list = bytes.TrimLeft(list, " \t,")
		list = bytes.TrimPrefix(list, []byte("W/"))
		if len(list) == 0 || list[0] != '"' {
			return false
		}
		end := bytes.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if bytes.Equal(list[:end+2], tag) {
			return true
		}
		list = bytes.TrimLeft(list[end+2:], " \t")
		if len(list) > 0 && list[0] != ',' {
			return false
		}
	}
}
