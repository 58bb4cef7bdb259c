package ofrep

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// givePass finds out whom a stream for the caller would be for, and until when: what the token
// depends on besides the question itself.
func (c *call) givePass() {
	c.subject, c.streaming = appendSubject(c.subject[:0], &c.req, c.everyone)
	c.expires = expiryOf(c.subject, c.req.Now.Unix())
}

// appendEventStreams appends the member that tells of the caller's stream. Its URL has no
// origin: it is that of the answer, whatever stands in front of us.
func (c *call) appendEventStreams(b []byte, s *secret, steps tiergate.ClockStep) []byte {
	if c.signer == nil {
		c.signer = s.signer()
	}
	c.scratch = appendPlace(c.scratch[:0], &c.resume, steps, c.req.Now)
	b = append(b, `"eventStreams":[{"type":"sse","endpoint":{"requestUri":"`+streamPath+`?token=`...)
	b, c.subject = appendToken(b, c.subject, c.scratch, c.expires, c.signer)
	return append(b, `"},"inactivityDelaySec":`+inactivityDelay+`}]`...)
}

// A sharedStream is what answers about one flag tell of a stream, encoded. To sign its pass takes a
// tenth of such an answer, so that it is kept until something that it says is different.
type sharedStream struct {
	subject, place []byte
	expires        int64
	encoded        []byte
}

// appendSharedStream appends what an answer about one flag tells of a stream, after a comma: the
// stream is that of all who ask with the same key about the same set, since a program that asks about
// one flag after the other asks for many subjects.
func (c *call) appendSharedStream(b []byte, s *secret, steps tiergate.ClockStep) []byte {
	c.everyone = true
	if c.givePass(); !c.streaming {
		return b
	}
	k := &c.shared
	c.scratch = appendPlace(c.scratch[:0], &c.resume, steps, c.req.Now)
	if k.expires != c.expires || !bytes.Equal(k.subject, c.subject) || !bytes.Equal(k.place, c.scratch) {
		k.expires = c.expires
		k.subject, k.place = append(k.subject[:0], c.subject...), append(k.place[:0], c.scratch...)
		k.encoded = c.appendEventStreams(append(k.encoded[:0], ','), s, steps)
	}
	return append(b, k.encoded...)
}

// stream answers with the stream of events that a token opens. The connection leaves the
// server: it is no idle one, and holds nothing that a request needs.
func (d *door) stream(ctx *fasthttp.RequestCtx) {
	s, h := d.cfg.Streams, &ctx.Response.Header
	if !ctx.IsGet() {
		h.Set(fasthttp.HeaderAllow, fasthttp.MethodGet)
		refuse(ctx, fasthttp.StatusMethodNotAllowed, "a stream of events is read with GET")
		return
	}
	p, ok := s.admit(ctx)
	if !ok {
		return
	}
	if last := ctx.Request.Header.Peek("Last-Event-ID"); len(last) > 0 && len(last) <= maxPlace { // newer than the token's
		p.place = string(last)
	}
	h.SetContentType("text/event-stream")
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	h.SetContentLength(-2)           // it ends with the connection
	head := fmt.Appendf(h.AppendBytes(nil), "retry: %d\n\n", soonestRetry+rand.IntN(latestRetry-soonestRetry))
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) {
		if own, ok := c.(interface{ UnsafeConn() net.Conn }); ok {
			c = own.UnsafeConn() // without the buffers of the request
		}
		if !s.enter(c) {
			_ = c.Close() // the client tries again
			return
		}
		go s.follow(c, p, head)
	})
}

// admit returns the pass that a request for a stream presents; or the refusal has been written.
func (s *Streams) admit(ctx *fasthttp.RequestCtx) (pass, bool) {
	p, ok := s.secret.read(ctx.QueryArgs().Peek("token"))
	err := error(tiergate.Errorf(tiergate.Unauthorized, "there is no valid token"))
	if ok {
		_, err = s.holder(&p)
	}
	h := &ctx.Response.Header
	switch {
	case tiergate.CodeOf(err) == tiergate.Forbidden:
		refuse(ctx, fasthttp.StatusForbidden, "the token's API key may not be used for this any more")
	case err != nil:
		h.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		refuse(ctx, fasthttp.StatusUnauthorized, "the token is not valid, or not any more: ask again, the answer has another")
	case !s.room():
		h.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(latestRetry/1000))
		refuse(ctx, fasthttp.StatusServiceUnavailable, "there are too many streams")
	default:
		return p, true
	}
	return pass{}, false
}

// A stream is one client that is told of changes. It belongs to its goroutine.
type stream struct {
	*Streams
	conn net.Conn
	pass pass

	at   tiergate.Resume // of what the client was told; zero before the first look
	step string          // the step of the clock that it was told of
	more <-chan struct{} // closed when there may be something to tell; nil while it waits to be looked at

	last []byte // the event that is to be told again; nil for none

	// What comes next; zero times never come.
	look  time.Time // at changes
	again time.Time // that event
	turn  time.Time // of the clock, for a set whose answers depend on it
	beat  time.Time // when the client is shown that it is still connected
	until time.Time // when it may not listen any more
	told  time.Time // the last event
}

// follow tells the client on c of changes until it has gone or may not listen any more, or all
// streams end.
func (s *Streams) follow(c net.Conn, p pass, head []byte) {
	defer s.leave(c)
	listen.GiveUpAfter(c, 2*heartbeat)
	st := stream{Streams: s, conn: c, pass: p}
	if !st.write(head) {
		return
	}
	timer := time.NewTimer(0) // looks at once
	defer timer.Stop()
	st.look = time.Now()
	for {
		select {
		case <-s.ended:
			return
		case <-st.more:
			st.more = nil
			st.look = time.Now().Add(s.spread())
			if earliest := st.told.Add(coalesce); st.look.Before(earliest) {
				st.look = earliest
			}
		case <-timer.C:
			if !st.act(time.Now()) {
				return
			}
		}
		timer.Reset(time.Until(st.next()))
	}
}

// next is when something is to be done unless there is something to tell before.
func (st *stream) next() time.Time {
	next := st.beat
	for _, t := range [...]time.Time{st.look, st.again, st.turn, st.until} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// act does what is due, and reports whether the stream goes on.
func (st *stream) act(now time.Time) bool {
	if !st.admitted(now) {
		return false
	}
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if (due(st.look) || due(st.again) || due(st.turn)) && !st.tell(now) {
		return false
	}
	if due(st.again) && !st.tellAgain(now) { // and nothing newer was told just now
		return false
	}
	return !due(st.beat) || !listen.Gone(st.conn) && st.write([]byte(":\n\n"))
}

// admitted reports whether the client may still listen, and finds out until when. Keys are
// looked at in full each time: that costs a look-up, and nothing about them is missed.
func (st *stream) admitted(now time.Time) bool {
	key, err := st.holder(&st.pass)
	if err != nil {
		return false
	}
	until := time.Unix(st.pass.expires, 0)
	if key != nil && !key.ExpiresAt.IsZero() && key.ExpiresAt.Before(until) {
		until = key.ExpiresAt
	}
	st.until = now.Add(until.Sub(st.cfg.Now()))
	return now.Before(st.until)
}

// tell sends one event if anything that the client can see may have changed, and reports
// whether the stream goes on.
func (st *stream) tell(now time.Time) bool {
	revision, step, _ := strings.Cut(st.pass.place, "@")
	first := st.at == (tiergate.Resume{})
	if first {
		st.at, st.step = st.places.recall(revision), step
	}
	var d tiergate.Difference
	d, st.more = st.cfg.Watcher.Since(st.at, st.pass.audience)
	st.look, st.turn = time.Time{}, time.Time{}
	if d.To == (tiergate.Resume{}) {
		return true // nothing is in force yet
	}
	at := st.places.tell(d.To, st.cfg.Now())
	news := d.Any() && !(first && at.revision == revision)
	st.at = d.To
	if st.follows(now) {
		news, d.All = true, true
	}
	return !news || st.send(&at, &d, now)
}

// follows takes the step of the clock in, and reports whether it is another than before.
func (st *stream) follows(now time.Time) bool {
	wall, before := st.cfg.Now(), st.step
	steps := st.clock(st.pass.audience.Set)
	st.step = ""
	if next := server.NextTurn(steps, wall); !next.IsZero() {
		st.step = strconv.FormatInt(server.Turn(steps, wall), 10)
		st.turn = now.Add(next.Sub(wall) + st.spread())
	}
	return st.step != before
}

// send sends the event that something has changed. Its id is the place, which is the same at each
// sidecar on one Postgres, and after a restart. When it is no more than the definitions of some
// flags, it names them to who follows for everyone, and needs to ask for those only.
func (st *stream) send(at *onePlace, d *tiergate.Difference, now time.Time) bool {
	b := append(append(make([]byte, 0, 192), "id: "...), at.revision...)
	if st.step != "" {
		b = append(append(b, '@'), st.step...)
	}
	b = server.AppendString(append(b, "\nevent: message\ndata: {\"type\":\"refetchEvaluation\",\"etag\":"...), at.revision)
	b = strconv.AppendInt(append(b, `,"lastModified":`...), at.since, 10)
	unnamed := len(b)
	if st.pass.audience.Everyone && !d.All && !d.Subject && len(d.Flags) <= mostNamed {
		b = appendFlags(b, d.Flags)
	}
	b = append(b, "}\n\n"...)
	st.told = now
	if st.cfg.Shared {
		again := b
		if st.last != nil { // which is not told again: this one is for both
			again = slices.Concat(b[:unnamed], []byte("}\n\n"))
		}
		st.last, st.again = again, now.Add(retell)
	}
	return st.write(b)
}

// tellAgain sends the event that was sent last, and reports whether the stream goes on.
func (st *stream) tellAgain(now time.Time) bool {
	b := st.last
	st.last, st.again, st.told = nil, time.Time{}, now
	return st.write(b)
}

func appendFlags(b []byte, flags []tiergate.FlagChange) []byte {
	b = append(b, `,"flags":[`...)
	for i := range flags {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonvalue.AppendString(b, flags[i].Name)
	}
	return append(b, ']')
}

// write sends b within a bound, and reports whether it could.
func (st *stream) write(b []byte) bool {
	now := time.Now()
	st.beat = now.Add(heartbeat*4/5 + rand.N(heartbeat*2/5))
	if st.conn.SetWriteDeadline(now.Add(writeBound)) != nil {
		return false
	}
	_, err := st.conn.Write(b)
	return err == nil
}
