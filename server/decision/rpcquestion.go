package decision

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
)

// A form is a question as the JSON body that would ask it. What is "", 0 or absent in a message is
// left out. The zero form is empty.
type form struct {
	names  [8]string
	values [8]tiergate.Value
	n      int
	err    error // what a message can hold and JSON cannot
}

// object makes the body. It is valid until the maker is used for the next call.
func (f *form) object(m *structvalue.Maker) (tiergate.Value, error) {
	if f.err != nil {
		return tiergate.Value{}, f.err
	}
	return m.Object(f.names[:f.n], f.values[:f.n]), nil
}

func (f *form) put(name string, v tiergate.Value) {
	f.names[f.n], f.values[f.n] = name, v
	f.n++
}

func (f *form) text(name, s string) {
	if s != "" {
		f.put(name, tiergate.StringOf(s))
	}
}

func (f *form) int(m *structvalue.Maker, name string, n int64) {
	if n != 0 {
		f.put(name, m.Int(n))
	}
}

func (f *form) json(m *structvalue.Maker, name string, s *structpb.Struct) {
	if s == nil {
		return
	}
	v, err := m.Struct(s)
	if err != nil && f.err == nil {
		f.err = tiergate.FieldErrorf(name, "%s: the object %v", name, err)
	}
	f.put(name, v)
}

// readForm reads the form by the rules of the kind that is asked.
func (c *rpcCall) readForm() error {
	doc, err := c.form.object(&c.maker)
	if err != nil {
		return err
	}
	return c.read(doc, c.kind, &c.question)
}

func (c *rpcCall) putQuestion(q *tiergatev1.Question) {
	f := &c.form
	f.text("feature", q.GetFeature())
	if s := q.GetSubject(); s != nil {
		var of form
		of.text("user", s.User)
		of.text("team", s.Team)
		subject, _ := of.object(&c.maker)
		f.put("subject", subject)
	}
	f.json(&c.maker, "attributes", q.GetAttributes())
	f.text("set", q.GetSet())
}

func (c *rpcCall) putCheck(req *tiergatev1.CheckRequest) {
	c.putQuestion(req.GetQuestion())
	c.form.int(&c.maker, "cost", req.GetCost())
}

func (c *rpcCall) putConsume(req *tiergatev1.ConsumeRequest) {
	c.putQuestion(req.GetQuestion())
	c.form.int(&c.maker, "cost", req.GetCost())
	c.form.text("idempotencyKey", req.GetIdempotencyKey())
	c.form.json(&c.maker, "metadata", req.GetMetadata())
}

func (c *rpcCall) putTrack(req *tiergatev1.TrackRequest) {
	c.putQuestion(req.GetQuestion())
	c.form.int(&c.maker, "cost", req.GetCost())
	c.form.text("idempotencyKey", req.GetIdempotencyKey())
	c.form.json(&c.maker, "metadata", req.GetMetadata())
	if at := req.GetAt(); at != nil {
		c.form.put("at", tiergate.StringOf(rfc3339(at)))
	}
}

// rfc3339 writes a time as JSON has it; what is none is written so that it is refused.
func rfc3339(at *timestamppb.Timestamp) string {
	if at.CheckValid() != nil {
		return "not a time"
	}
	return at.AsTime().Format(time.RFC3339Nano)
}

func (c *rpcCall) putReserve(req *tiergatev1.ReserveRequest) {
	c.putQuestion(req.GetQuestion())
	c.form.int(&c.maker, "cost", req.GetCost())
	c.form.text("id", req.GetId())
	c.form.json(&c.maker, "metadata", req.GetMetadata())
	c.form.int(&c.maker, "ttlMs", req.GetTtlMs())
}

func (c *rpcCall) putItem(q *tiergatev1.Question, item string) {
	c.putQuestion(q)
	c.form.text("item", item)
}

func (c *rpcCall) putItems(q *tiergatev1.Question, items []string) {
	c.putQuestion(q)
	items = items[:min(len(items), MaxGaugeItems+1)] // one too many is refused as more are
	all := make([]tiergate.Value, len(items))
	for i, item := range items {
		all[i] = tiergate.StringOf(item)
	}
	c.form.put("items", c.maker.Array(all))
}
