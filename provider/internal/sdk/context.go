package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// A Context is an evaluation context of the SDK, read. What it holds is valid until the next
// Read or Release.
type Context struct {
	UserID     string // its targetingKey
	TeamID     string // its teamId
	Attributes tiergate.Value

	items   []tiergate.Value
	keys    []string
	holders []tiergate.Holder
	digits  []byte
}

var contexts = sync.Pool{New: func() any { return new(Context) }}

// NewContext returns a Context that nobody uses.
func NewContext() *Context { return contexts.Get().(*Context) }

// largeContext is from how many values on a Context is not used again, so that one large call
// does not hold memory for ever.
const largeContext = 1024

// Release gives c back for the next caller. It holds on to nothing that this one has read.
func (c *Context) Release() {
	if cap(c.items) > largeContext || cap(c.digits) > 16*largeContext {
		return
	}
	c.forget()
	contexts.Put(c)
}

// forget drops what the last Read has put into c, which costs nothing where there was none.
func (c *Context) forget() {
	clear(c.items)
	clear(c.keys)
	clear(c.holders)
	c.items, c.keys, c.holders, c.digits = c.items[:0], c.keys[:0], c.holders[:0], c.digits[:0]
	c.UserID, c.TeamID, c.Attributes = "", "", tiergate.Value{}
}

// Read reads a context. An error is one sentence for the caller: the context has no JSON form, or
// names the subject by something that is not a string.
func (c *Context) Read(flat openfeature.FlattenedContext) error {
	c.forget()
	if len(flat) == 0 {
		return nil
	}
	if len(flat) > tiergate.MaxAttributes {
		return fmt.Errorf("the context has more than %d members", tiergate.MaxAttributes)
	}
	items, keys := room(&c.items, len(flat)), room(&c.keys, len(flat))
	n := 0
	for k, x := range flat {
		v, err := c.value(x, 1)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		switch k {
		case openfeature.TargetingKey:
			c.UserID, err = idOf(k, v)
		case "teamId":
			c.TeamID, err = idOf(k, v)
		}
		if err != nil {
			return err
		}
		keys[n], items[n] = k, v
		n++
	}
	c.Attributes = c.holder().Object(keys[:n], items[:n])
	return nil
}

func idOf(name string, v tiergate.Value) (string, error) {
	switch v.Kind() {
	case tiergate.StringValue:
		return v.Text(), nil
	case tiergate.Null:
		return "", nil
	}
	return "", fmt.Errorf("%s is not a string", name)
}

func (c *Context) object(m map[string]any, depth int) (tiergate.Value, error) {
	items, keys := room(&c.items, len(m)), room(&c.keys, len(m))
	n := 0
	for k, x := range m {
		v, err := c.value(x, depth)
		if err != nil {
			return tiergate.Value{}, fmt.Errorf("%s: %w", k, err)
		}
		keys[n], items[n] = k, v
		n++
	}
	return c.holder().Object(keys[:n], items[:n]), nil
}

func (c *Context) array(a []any, depth int) (tiergate.Value, error) {
	items := room(&c.items, len(a))
	for i, x := range a {
		v, err := c.value(x, depth)
		if err != nil {
			return tiergate.Value{}, fmt.Errorf("element %d: %w", i, err)
		}
		items[i] = v
	}
	return c.holder().Array(items), nil
}

// value is one member. What is not of a usual type is what encoding/json makes of it.
func (c *Context) value(x any, depth int) (tiergate.Value, error) {
	if depth > jsonvalue.MaxDepth {
		return tiergate.Value{}, fmt.Errorf("it is nested deeper than %d", jsonvalue.MaxDepth)
	}
	switch x := x.(type) {
	case string:
		return tiergate.StringOf(x), nil
	case bool:
		return tiergate.BoolOf(x), nil
	case int:
		return c.whole(int64(x)), nil
	case int64:
		return c.whole(x), nil
	case int32:
		return c.whole(int64(x)), nil
	case float64:
		return c.float(x)
	case nil:
		return tiergate.NullOf(), nil
	case map[string]any:
		return c.object(x, depth+1)
	case []any:
		return c.array(x, depth+1)
	case []string:
		items := room(&c.items, len(x))
		for i, s := range x {
			items[i] = tiergate.StringOf(s)
		}
		return c.holder().Array(items), nil
	case time.Time:
		return tiergate.StringOf(x.Format(time.RFC3339Nano)), nil
	}
	data, err := json.Marshal(x)
	if err != nil {
		return tiergate.Value{}, fmt.Errorf("it has no JSON form: %w", err)
	}
	return jsonvalue.Parse(data)
}

func (c *Context) whole(n int64) tiergate.Value {
	start := len(c.digits)
	c.digits = strconv.AppendInt(c.digits, n, 10)
	return c.literal(start, float64(n))
}

// float writes a number as encoding/json does, so that a sidecar reads the same text.
func (c *Context) float(f float64) (tiergate.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return tiergate.Value{}, fmt.Errorf("%v has no JSON form", f)
	}
	start := len(c.digits)
	c.digits = jsonvalue.AppendNumber(c.digits, f)
	return c.literal(start, f), nil
}

// literal makes a number of the digits from start on, which stay as they are until the next Read.
func (c *Context) literal(start int, f float64) tiergate.Value {
	text := c.digits[start:]
	return tiergate.LiteralOf(unsafe.String(unsafe.SliceData(text), len(text)), f)
}

// room returns a run of n that nobody uses; what is in it is to be overwritten. When more is made
// elsewhere, the runs before keep their own memory.
func room[T any](all *[]T, n int) []T {
	start := len(*all)
	*all = slices.Grow(*all, n)[:start+n]
	return (*all)[start : start+n : start+n]
}

// holder returns a Holder that nobody uses. When there is none more is made elsewhere, so that
// the Values in those before stay as they are.
func (c *Context) holder() *tiergate.Holder {
	n := len(c.holders)
	if n == cap(c.holders) {
		c.holders, n = make([]tiergate.Holder, 0, max(4, 2*n)), 0
	}
	c.holders = c.holders[:n+1]
	return &c.holders[n]
}
