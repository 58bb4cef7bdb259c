package flagdapi

import (
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
	"github.com/tiergate/tiergate/server"
)

// The bounds of what is kept of answers. What comes beyond is made anew for each.
const (
	maxKeptMetadata = 4096    // messages
	maxKeptObjects  = 1 << 20 // bytes of JSON
)

// answers are the parts that answers of one state have in common. They are made once and
// belong to many messages at a time, so that nobody may change them. Safe for concurrent use.
type answers struct {
	of       state
	revision *structpb.Value

	mu       sync.RWMutex
	metas    map[metaOf]*structpb.Struct
	objects  map[*byte]*structpb.Struct // flags' values, by where they are
	objBytes int
}

type state struct {
	resume tiergate.Resume
	stale  bool
}

// metaOf is what the metadata of a decision depends on. The flag's own is known by where it
// is: it is as immutable as the state.
type metaOf struct {
	own                       *byte
	ownBytes                  int
	tier, denyReason, upgrade string
	denied, metered           bool
}

// answersOf returns what the answers of a state have in common.
func (s *service) answersOf(resume tiergate.Resume, stale bool) *answers {
	of := state{resume, stale}
	made := s.made.Load()
	if made == nil || made.of != of {
		s.known.answered()
		made = &answers{
			of: of, revision: structpb.NewStringValue(resume.Revision()),
			metas: map[metaOf]*structpb.Struct{}, objects: map[*byte]*structpb.Struct{},
		}
		s.made.Store(made)
	}
	return made
}

// metadata returns a decision's, without its limit.
func (m *answers) metadata(d *tiergate.Decision) *structpb.Struct {
	of := metaOf{unsafe.SliceData(d.Metadata), len(d.Metadata), d.Tier, d.DenyReason, d.Upgrade, d.Denied, d.Metered}
	m.mu.RLock()
	meta := m.metas[of]
	m.mu.RUnlock()
	if meta != nil {
		return meta
	}
	meta = m.makeMetadata(d)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.metas) < maxKeptMetadata {
		m.metas[of] = meta
	}
	return meta
}

func (m *answers) makeMetadata(d *tiergate.Decision) *structpb.Struct {
	meta := m.common()
	if d.Tier != "" {
		meta.Fields["tier"] = structpb.NewStringValue(d.Tier)
	}
	if d.Denied {
		meta.Fields["denied"] = structpb.NewBoolValue(true)
		meta.Fields["denyReason"] = structpb.NewStringValue(d.DenyReason)
		if d.Upgrade != "" {
			meta.Fields["upgrade"] = structpb.NewStringValue(d.Upgrade)
		}
	}
	addOwn(meta, d.Metadata, d.Metered)
	return meta
}

// common are the members of each answer's metadata.
func (m *answers) common() *structpb.Struct {
	meta := &structpb.Struct{Fields: map[string]*structpb.Value{"revision": m.revision}}
	if m.of.stale {
		meta.Fields["stale"] = structpb.NewBoolValue(true)
	}
	return meta
}

// addOwn adds members of JSON, without those whose names we reserve.
func addOwn(meta *structpb.Struct, members json.RawMessage, metered bool) {
	if len(members) == 0 {
		return
	}
	own, err := structvalue.OfJSON(append(append([]byte{'{'}, members...), '}'))
	if err != nil {
		return // a bug of whoever made it; an answer without it is better than none
	}
	for name, v := range own.GetStructValue().GetFields() {
		if !server.Reserved(name, metered) {
			meta.Fields[name] = v
		}
	}
}

// setMetadata is that of an answer about all flags of a set.
func (c *call) setMetadata() *structpb.Struct {
	meta := c.made.common()
	if c.selected {
		meta.Fields["flagSetId"] = structpb.NewStringValue(c.req.Set)
	}
	addOwn(meta, c.gen.SetMetadata(c.req.Set), false)
	return meta
}

// withLimit returns a copy of metadata that tells of a limit; nil is nothing.
func withLimit(meta *structpb.Struct, left *server.Left) *structpb.Struct {
	if left == nil {
		return meta
	}
	fields := maps.Clone(meta.Fields)
	fields["limit"] = structpb.NewNumberValue(float64(left.Amount))
	fields["limitKey"] = structpb.NewStringValue(left.Key)
	if left.Period != "" {
		fields["period"] = structpb.NewStringValue(left.Period)
	}
	if left.Known {
		fields["remaining"] = structpb.NewNumberValue(float64(left.Remaining))
	}
	if !left.ResetsAt.IsZero() {
		fields["resetsAt"] = structpb.NewStringValue(left.ResetsAt.Format(time.RFC3339))
	}
	return &structpb.Struct{Fields: fields}
}

// The values of a decision, each the zero value when there is none.

func (a *answer) bool() bool { return string(a.Value) == "true" }

func (a *answer) string() string { return textOf(a.Value) }

func (a *answer) float() float64 { return floatOf(a.Value) }

func (a *answer) int() int64 { return intOf(a.Value) }

func (a *answer) object() *structpb.Struct {
	if a.Value == nil {
		return nil
	}
	return a.made.object(a.Value)
}

// textOf reads a JSON string. A plain one is not copied.
func textOf(value json.RawMessage) string {
	if len(value) < 2 {
		return ""
	}
	for _, c := range value {
		if c == '\\' || c >= utf8.RuneSelf {
			var text string
			_ = json.Unmarshal(value, &text) // which makes UTF-8 of what is not
			return text
		}
	}
	return server.View(value[1 : len(value)-1])
}

func floatOf(value json.RawMessage) float64 {
	f, _ := strconv.ParseFloat(server.View(value), 64) // 1e999 is infinite, as elsewhere
	return f
}

// intOf cuts what is behind the point off, as flagd does.
func intOf(value json.RawMessage) int64 {
	if n, err := strconv.ParseInt(server.View(value), 10, 64); err == nil {
		return n
	}
	switch f := math.Trunc(floatOf(value)); {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	default:
		return int64(f)
	}
}

// object returns a flag's value as a message, which is made once.
func (m *answers) object(value json.RawMessage) *structpb.Struct {
	at := unsafe.SliceData(value)
	m.mu.RLock()
	object := m.objects[at]
	m.mu.RUnlock()
	if object != nil {
		return object
	}
	v, err := structvalue.OfJSON(value)
	if err != nil {
		return &structpb.Struct{} // a bug: values are checked when they are loaded
	}
	object = v.GetStructValue()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objBytes+len(value) <= maxKeptObjects {
		m.objects[at], m.objBytes = object, m.objBytes+len(value)
	}
	return object
}
