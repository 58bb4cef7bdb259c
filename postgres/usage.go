package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// Upload implements tiergate.Ledger. Nothing in a batch can make it be refused for ever, or
// its log would stop there: texts that Postgres cannot hold are mended, and metadata that is
// no JSON, or nested deeper than anybody nests, is replaced by {"tiergate.unreadable": true}.
func (l *Ledger) Upload(ctx context.Context, b tiergate.UsageBatch) (tiergate.Uploaded, error) {
	if b.From < 0 || b.To < b.From || b.To == b.From && len(b.Usage)+len(b.Denials) > 0 {
		return tiergate.Uploaded{}, tiergate.FieldErrorf("to", "a batch cannot go from %d to %d", b.From, b.To)
	}
	c, err := columnsOf(&b)
	if err != nil {
		return tiergate.Uploaded{}, err
	}
	var out tiergate.Uploaded
	err = l.call(ctx, "upload usage", `
		select o_at, o_hash, o_duplicates, o_reused from usage_upload($1, $2, $3, $4, $5, $6,
			$7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`,
		[]any{
			b.Log, b.From, b.To, b.Before, b.After, b.Lost,
			c.id, c.at, c.team, c.user, c.feature, c.units, c.events, c.metadata, c.spends,
			c.bucketLimit, c.bucketScope, c.bucketSubject, c.bucketPeriod, c.spendOf, c.spendFrom, c.spendHolder, c.spendUnits,
			c.keyOf, c.keyScope, c.key, c.fingerprint,
			c.denialHour, c.denialTeam, c.denialFeature, c.denialReason, c.denialCount,
		},
		[]any{&out.At, &out.Hash, &out.Duplicates, &out.Reused})
	return out, err
}

// usageColumns are a batch as columns, none of them nil.
type usageColumns struct {
	id, team, user, feature []string
	at                      []time.Time
	units, events           []int64
	metadata, spends        []*string

	places                                                map[tiergate.Bucket]int32 // of buckets, from 1
	bucketLimit, bucketScope, bucketSubject, bucketPeriod []string

	spendOf, spendFrom []int32 // places of the event and the bucket, from 1
	spendHolder        []string
	spendUnits         []int64

	keyOf                      []int32
	keyScope, key, fingerprint []string

	denialHour                              []time.Time
	denialTeam, denialFeature, denialReason []string
	denialCount                             []int64
}

func columnsOf(b *tiergate.UsageBatch) (*usageColumns, error) {
	n := len(b.Usage)
	c := &usageColumns{
		id: make([]string, 0, n), team: make([]string, 0, n), user: make([]string, 0, n), feature: make([]string, 0, n),
		at: make([]time.Time, 0, n), units: make([]int64, 0, n), events: make([]int64, 0, n),
		metadata: make([]*string, 0, n), spends: make([]*string, 0, n),
		places: map[tiergate.Bucket]int32{}, bucketLimit: []string{}, bucketScope: []string{}, bucketSubject: []string{}, bucketPeriod: []string{},
		spendOf: make([]int32, 0, n), spendFrom: make([]int32, 0, n), spendHolder: make([]string, 0, n), spendUnits: make([]int64, 0, n),
		keyOf: []int32{}, keyScope: []string{}, key: []string{}, fingerprint: []string{},
		denialHour: []time.Time{}, denialTeam: []string{}, denialFeature: []string{}, denialReason: []string{}, denialCount: []int64{},
	}
	for i := range b.Usage {
		if err := c.add(int32(i)+1, &b.Usage[i]); err != nil {
			return nil, err
		}
	}
	for i := range b.Denials {
		d := &b.Denials[i]
		c.denialHour = append(c.denialHour, d.Hour)
		c.denialTeam = append(c.denialTeam, held(d.TeamID))
		c.denialFeature = append(c.denialFeature, held(d.Feature))
		c.denialReason = append(c.denialReason, held(string(d.Reason)))
		c.denialCount = append(c.denialCount, d.Count)
	}
	return c, nil
}

func (c *usageColumns) add(place int32, u *tiergate.Usage) error {
	c.id = append(c.id, held(u.ID))
	c.at = append(c.at, u.At)
	c.team = append(c.team, held(u.TeamID))
	c.user = append(c.user, held(u.UserID))
	c.feature = append(c.feature, held(u.Feature))
	c.units = append(c.units, u.Units)
	c.events = append(c.events, u.Events)
	c.metadata = append(c.metadata, heldMetadata(u.Metadata))
	var spends *string
	if len(u.Spends) > 0 {
		kept := slices.Clone(u.Spends)
		for i := range kept {
			s := &kept[i]
			s.Bucket = tiergate.Bucket{Limit: held(s.Bucket.Limit), Scope: held(s.Bucket.Scope), Subject: held(s.Bucket.Subject), Period: held(s.Bucket.Period)}
			s.Holder = held(s.Holder)
			c.spendOf = append(c.spendOf, place)
			c.spendFrom = append(c.spendFrom, c.place(s.Bucket))
			c.spendHolder = append(c.spendHolder, s.Holder)
			c.spendUnits = append(c.spendUnits, s.Units)
		}
		text, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		spends = new(string(text))
	}
	c.spends = append(c.spends, spends)
	if k := u.Key; k != nil {
		c.keyOf = append(c.keyOf, place)
		c.keyScope = append(c.keyScope, held(k.Scope))
		c.key = append(c.key, held(k.Key))
		c.fingerprint = append(c.fingerprint, held(k.Fingerprint))
	}
	return nil
}

// place returns where a bucket is among the batch's.
func (c *usageColumns) place(b tiergate.Bucket) int32 {
	if p, ok := c.places[b]; ok {
		return p
	}
	c.bucketLimit = append(c.bucketLimit, b.Limit)
	c.bucketScope = append(c.bucketScope, b.Scope)
	c.bucketSubject = append(c.bucketSubject, b.Subject)
	c.bucketPeriod = append(c.bucketPeriod, b.Period)
	p := int32(len(c.bucketLimit))
	c.places[b] = p
	return p
}

// held is a text as Postgres can hold it.
func held(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// How deep and long metadata may be; the doors allow much less.
const (
	maxMetadataDepth = 100
	maxMetadata      = 1 << 20
)

// heldMetadata is JSON as Postgres can hold it; nil is none.
func heldMetadata(raw json.RawMessage) *string {
	if len(raw) == 0 {
		return nil
	}
	if len(raw) > maxMetadata || !utf8.Valid(raw) || !json.Valid(raw) || tiergate.JSONDepth(raw) > maxMetadataDepth {
		return new(`{"tiergate.unreadable": true}`)
	}
	return new(string(raw))
}
