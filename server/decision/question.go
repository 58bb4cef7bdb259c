package decision

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

// The bounds of what a question may hold, in bytes unless it is said otherwise.
const (
	MaxIDBytes       = 256      // a user's or team's id, an item of a gauge
	MaxKeyBytes      = 255      // an idempotency key, a reservation's id
	MaxMetadataBytes = 16 << 10 // as compact JSON
	MaxBatch         = 100      // items
	MaxGaugeItems    = 10_000   // items that replace others

	// A tracked event may have waited in an application's own log, and be as new as clocks may
	// differ.
	maxTrackAge   = 30 * 24 * time.Hour
	maxTrackAhead = 5 * time.Minute

	// For how long a reservation holds what it holds, unless it is extended.
	defaultTTL = 5 * time.Minute
	minTTL     = time.Second
	maxTTL     = 7 * 24 * time.Hour
)

// A kind is what is asked. It says which members a question may have.
type kind uint8

const (
	unasked kind = iota // no question is asked
	check
	consume
	track
	reserve
	hold
	drop
	replace
)

var kindNames = [...]string{"", "check", "consume", "track", "reserve", "gauge", "gauge", "gauge"}

// members says which kinds of questions may have which member.
func mayHave(k kind, member string) bool {
	switch member {
	case "feature", "subject", "attributes", "set":
		return true
	case "cost":
		return k == check || k == consume || k == track || k == reserve
	case "idempotencyKey":
		return k == consume || k == track
	case "metadata":
		return k == consume || k == track || k == reserve
	case "at":
		return k == track
	case "id", "ttlMs":
		return k == reserve
	case "item":
		return k == hold || k == drop
	case "items":
		return k == replace
	}
	return false
}

// A question is a use and what else is said about it.
type question struct {
	use      tiergate.Use
	metadata tiergate.Value // the use's, as it was sent
	ttl      time.Duration  // of a reservation
	item     string         // of a gauge
	items    []string       // that replace others in a gauge
}

// parse reads the body as one JSON object. Nothing at all is an empty object where a body is
// optional.
func (c *call) parse(ctx *fasthttp.RequestCtx, optional bool) (tiergate.Value, error) {
	body := ctx.Request.Body()
	if len(body) > server.MaxBodyBytes {
		return tiergate.Value{}, &problem{status: fasthttp.StatusRequestEntityTooLarge, detail: "the body is too large"}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		if optional {
			return tiergate.Value{}, nil
		}
		return tiergate.Value{}, tiergate.Errorf(tiergate.Invalid, "the body is empty")
	}
	doc, err := c.parser.Parse(body)
	switch {
	case err != nil:
		return doc, tiergate.Errorf(tiergate.Invalid, "the body is %v", err)
	case doc.Kind() != tiergate.ObjectValue:
		return doc, tiergate.Errorf(tiergate.Invalid, "the body is not a JSON object")
	case c.parser.Repeated():
		return doc, tiergate.Errorf(tiergate.Invalid, "an object in the body has the same member twice")
	}
	return doc, checkEscapes(body)
}

// read makes q of an object that asks. A member that is null is as one that is not there.
func (c *call) read(doc tiergate.Value, k kind, q *question) error {
	*q = question{ttl: defaultTTL}
	q.use.Key, q.use.Now = c.key, c.now
	for i := range doc.Len() {
		name, v := doc.KeyAt(i), doc.Index(i)
		if !mayHave(k, name) {
			return unknownMember(k, name)
		}
		if v.Kind() == tiergate.Null {
			continue
		}
		if err := c.readMember(name, v, q); err != nil {
			return err
		}
	}
	if q.use.Flag == "" {
		return tiergate.FieldErrorf("feature", "feature is missing: the question is about nothing")
	}
	if err := c.selectSet(&q.use); err != nil {
		return err
	}
	if (k == hold || k == drop) && q.item == "" {
		return tiergate.FieldErrorf("item", "item is missing")
	}
	if k == replace && q.items == nil {
		return tiergate.FieldErrorf("items", "items are missing: to remove all, send an empty array")
	}
	if q.use.IdempotencyKey != "" || k == reserve {
		q.use.Fingerprint = c.fingerprint(k, q)
	}
	return nil
}

func unknownMember(k kind, name string) error {
	for other := check; other <= replace; other++ {
		if mayHave(other, name) {
			return tiergate.FieldErrorf(name, "a %s question has no %s", kindNames[k], name)
		}
	}
	return tiergate.FieldErrorf(name, "there is no member %.40q", name)
}

func (c *call) readMember(name string, v tiergate.Value, q *question) (err error) {
	u := &q.use
	switch name {
	case "feature":
		u.Flag, err = text(name, v, tiergate.MaxNameLength)
	case "subject":
		return readSubject(v, u)
	case "attributes":
		u.Attributes, err = v, object(name, v)
		if err == nil && v.Len() > tiergate.MaxAttributes {
			err = tiergate.FieldErrorf(name, "attributes have more than %d members", tiergate.MaxAttributes)
		}
	case "set":
		u.Set, err = text(name, v, tiergate.MaxNameLength)
	case "cost":
		u.Cost, err = units(name, v, 1)
	case "idempotencyKey":
		if u.IdempotencyKey, err = text(name, v, MaxKeyBytes); err == nil {
			err = checkKey(name, u.IdempotencyKey)
		}
	case "metadata":
		q.metadata = v
		u.Metadata, err = c.metadata(v)
	case "at":
		u.At, err = c.at(v)
	case "id":
		if u.IdempotencyKey, err = text(name, v, MaxKeyBytes); err == nil {
			err = reservationID(u.IdempotencyKey)
		}
	case "ttlMs":
		q.ttl, err = readTTL(v)
	case "item":
		q.item, err = text(name, v, MaxIDBytes)
	case "items":
		q.items, err = gaugeItems(v)
	}
	return err
}

// readSubject reads who asks. A user and a team may both be missing.
func readSubject(v tiergate.Value, u *tiergate.Use) error {
	if err := object("subject", v); err != nil {
		return err
	}
	for i := range v.Len() {
		field, to := "subject.user", &u.UserID
		switch v.KeyAt(i) {
		case "user":
		case "team":
			field, to = "subject.team", &u.TeamID
		default:
			return tiergate.FieldErrorf("subject", "a subject has no member %.40q: it has user and team", v.KeyAt(i))
		}
		if v.Index(i).Kind() == tiergate.Null {
			continue
		}
		id, err := text(field, v.Index(i), MaxIDBytes)
		if err != nil {
			return err
		}
		*to = id
	}
	return nil
}

// selectSet finds the flag set; one that is not named yet is "".
func (c *call) selectSet(u *tiergate.Use) (err error) {
	u.Set, err = server.SetFor(u.Set, c.key)
	return err
}

func object(field string, v tiergate.Value) error {
	if v.Kind() != tiergate.ObjectValue {
		return tiergate.FieldErrorf(field, "%s is not an object", field)
	}
	return nil
}

// text reads a string that is not empty and has no control characters: they would be an id
// that nobody can have, and what a database cannot keep.
func text(field string, v tiergate.Value, most int) (string, error) {
	if v.Kind() != tiergate.StringValue {
		return "", tiergate.FieldErrorf(field, "%s is not a string", field)
	}
	return checkText(field, v.Text(), most)
}

func checkText(field, s string, most int) (string, error) {
	switch {
	case s == "":
		return "", tiergate.FieldErrorf(field, "%s is empty", field)
	case len(s) > most:
		return "", tiergate.FieldErrorf(field, "%s is longer than %d bytes", field, most)
	case hasControl(s):
		return "", tiergate.FieldErrorf(field, "%s has a control character", field)
	case !utf8.ValidString(s):
		return "", tiergate.FieldErrorf(field, "%s is not UTF-8", field)
	}
	return s, nil
}

// checkKey refuses what some callers' libraries would write in several ways: all of its bytes
// are printable ASCII.
func checkKey(field, key string) error {
	for i := range len(key) {
		if key[i] > '~' {
			return tiergate.FieldErrorf(field, "%s has other characters than printable ASCII", field)
		}
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// units reads a whole number from least up to tiergate.MaxAmount. It is read from its digits:
// as a float64, 9007199254740992.5 would be whole.
func units(field string, v tiergate.Value, least int64) (int64, error) {
	if v.Kind() != tiergate.NumberValue {
		return 0, tiergate.FieldErrorf(field, "%s is not a number", field)
	}
	return checkUnits(field, v.Text(), least)
}

func checkUnits(field, literal string, least int64) (int64, error) {
	n, err := strconv.ParseInt(literal, 10, 64)
	if err != nil || n < least || n > tiergate.MaxAmount {
		return 0, tiergate.FieldErrorf(field, "%s is not a whole number from %d to 2^53, without fraction and exponent", field, least)
	}
	return n, nil
}

func readTTL(v tiergate.Value) (time.Duration, error) {
	ms, err := units("ttlMs", v, 1)
	ttl := time.Duration(min(ms, int64(2*maxTTL/time.Millisecond))) * time.Millisecond
	if err != nil || ttl < minTTL || ttl > maxTTL {
		return 0, tiergate.FieldErrorf("ttlMs", "ttlMs is not a whole number from %d to %d", minTTL.Milliseconds(), maxTTL.Milliseconds())
	}
	return ttl, nil
}

func (c *call) at(v tiergate.Value) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, v.Text())
	switch {
	case err != nil || v.Kind() != tiergate.StringValue:
		return at, tiergate.FieldErrorf("at", "at is not a time such as 2026-01-31T12:00:00Z")
	case at.Before(c.now.Add(-maxTrackAge)):
		return at, tiergate.FieldErrorf("at", "at is more than 30 days ago")
	case at.After(c.now.Add(maxTrackAhead)):
		return at, tiergate.FieldErrorf("at", "at is in the future")
	}
	return at.UTC(), nil
}

// metadata keeps an object as compact JSON in the arena.
func (c *call) metadata(v tiergate.Value) (json.RawMessage, error) {
	if err := object("metadata", v); err != nil {
		return nil, err
	}
	if err := storable(v); err != nil {
		return nil, err
	}
	start := len(c.arena)
	c.arena = jsonvalue.Append(c.arena, v)
	if len(c.arena)-start > MaxMetadataBytes {
		return nil, tiergate.FieldErrorf("metadata", "metadata is larger than %d bytes", MaxMetadataBytes)
	}
	return c.arena[start:len(c.arena):len(c.arena)], nil
}

// storable refuses what a database's JSON cannot keep: the character NUL, and numbers that are
// no float64. One such record would be refused with all that are stored together with it.
func storable(v tiergate.Value) error {
	bad := false
	switch v.Kind() {
	case tiergate.StringValue:
		bad = strings.IndexByte(v.Text(), 0) >= 0
	case tiergate.NumberValue:
		bad = math.IsInf(v.Float(), 0) || v.Float() == 0 && strings.ContainsAny(mantissa(v.Text()), "123456789")
	case tiergate.ArrayValue, tiergate.ObjectValue:
		for i := range v.Len() {
			if strings.IndexByte(v.KeyAt(i), 0) >= 0 {
				bad = true
			} else if err := storable(v.Index(i)); err != nil {
				return err
			}
		}
	}
	if bad {
		return tiergate.FieldErrorf("metadata", "metadata has a character NUL, or a number that is too large or too small")
	}
	return nil
}

func mantissa(literal string) string {
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		return literal[:i]
	}
	return literal
}

func gaugeItems(v tiergate.Value) ([]string, error) {
	if v.Kind() != tiergate.ArrayValue || v.Len() > MaxGaugeItems {
		return nil, tiergate.FieldErrorf("items", "items are not an array of at most %d strings", MaxGaugeItems)
	}
	items := make([]string, 0, v.Len())
	for i := range v.Len() {
		item, err := text("items", v.Index(i), MaxIDBytes)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	slices.Sort(items)
	return slices.Compact(items), nil
}

// reservationID holds an id against what may stand in a path as it is.
func reservationID(id string) error {
	for i := range len(id) {
		b := id[i]
		plain := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		if !plain && (i == 0 || strings.IndexByte("._~-", b) < 0) {
			return tiergate.FieldErrorf("id", "id has other characters than letters, digits and, not in front, . _ ~ -")
		}
	}
	return nil
}
