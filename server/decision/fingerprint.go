package decision

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/tiergate/tiergate/server"
)

// fingerprintBytes is how much of the hash is kept: enough that no two questions of one
// caller have the same by chance.
const fingerprintBytes = 18

// fingerprint names what is asked, whatever the door it comes through, the order of members, the
// spaces between them and the way in which numbers are written: two questions have the same one
// when the answer to the first may stand for the second. The team is that of the key, when there
// is one, as it is for the decision.
func (c *call) fingerprint(k kind, q *question) string {
	u := &q.use
	team := u.TeamID
	if u.Key != nil {
		team = u.Key.TeamID
	}
	b := c.scratch[:0]
	b = append(b, "tiergate use 1"...)
	b = append(b, byte(k))
	b = server.AppendText(server.AppendText(b, u.Set), u.Flag)
	b = server.AppendText(server.AppendText(b, u.UserID), team)
	b = binary.AppendVarint(b, u.Cost)
	b = binary.AppendVarint(b, u.At.UnixNano())
	b = server.AppendSame(server.AppendSame(b, u.Attributes), q.metadata)
	c.scratch = b
	sum := sha256.Sum256(b)
	start := len(c.arena)
	c.arena = base64.RawURLEncoding.AppendEncode(c.arena, sum[:fingerprintBytes])
	return server.View(c.arena[start:])
}
