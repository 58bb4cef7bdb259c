package admin

import (
	"context"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tiergate/tiergate"
)

// Changing holds the parameters of every change. (It is exported, as the two below are,
// because huma reads exported fields only.)
type Changing struct {
	Reason string `header:"Change-Reason" maxLength:"500" doc:"Why, for the audit trail"`
	DryRun bool   `query:"dryRun" doc:"true: check everything and answer as if it were done, but keep nothing"`
}

// Creating holds the parameters of a POST that makes something.
type Creating struct {
	Changing
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did; the same key with another body is refused with 422"`
}

// Updating holds the parameters of a change of something that is there.
type Updating struct {
	Changing
	IfMatch string `header:"If-Match" doc:"The ETag that you have seen: if the thing has changed since, nothing is done and the answer is 412" example:"\"3\""`
}

func (p Changing) write(ctx context.Context) (tiergate.Write, error) {
	if !plainText(p.Reason) {
		return tiergate.Write{}, tiergate.FieldErrorf("header.Change-Reason", "the Change-Reason is not plain UTF-8 text")
	}
	return tiergate.Write{
		Caller: callOf(ctx).caller, RequestID: requestIDOf(ctx), Reason: p.Reason, DryRun: p.DryRun,
	}, nil
}

func (p Creating) write(ctx context.Context) (tiergate.Write, error) {
	w, err := p.Changing.write(ctx)
	if err != nil || p.IdempotencyKey == "" {
		return w, err
	}
	if !plainText(p.IdempotencyKey) {
		return w, tiergate.FieldErrorf("header.Idempotency-Key", "the Idempotency-Key is not plain UTF-8 text")
	}
	w.IdempotencyKey, w.Fingerprint = p.IdempotencyKey, callOf(ctx).fingerprint
	return w, nil
}

func (p Updating) write(ctx context.Context) (tiergate.Write, error) {
	w, err := p.Changing.write(ctx)
	if err == nil {
		w.IfVersion, err = versionOf(p.IfMatch)
	}
	return w, err
}

var (
	etagRE      = regexp.MustCompile(`^(W/)?"[^"]*"$`)
	versionTags = regexp.MustCompile(`^"(0|[1-9][0-9]{0,17})"$`)
)

// neverVersion is what no thing has for its version.
const neverVersion = math.MaxInt64

// versionOf reads an If-Match: 0 stands for any version, and the tag "0" says that there was
// none. A tag that we never give out, a weak one included, matches nothing; that is found out
// where versions are compared, behind whether the thing is there and what was done already.
func versionOf(ifMatch string) (int64, error) {
	tag := strings.TrimSpace(ifMatch)
	if tag == "" || tag == "*" {
		return 0, nil
	}
	if !etagRE.MatchString(tag) {
		return 0, tiergate.FieldErrorf("header.If-Match", `If-Match takes one ETag, such as "3" with its quotes`)
	}
	m := versionTags.FindStringSubmatch(tag)
	switch {
	case m == nil:
		return neverVersion, nil
	case m[1] == "0":
		return tiergate.NoVersion, nil
	}
	return strconv.ParseInt(m[1], 10, 64)
}

func etagOf(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// An answer with one thing that is there.
type single[T any] struct {
	Status       int
	ETag         string `header:"ETag" doc:"The version, for If-Match and If-None-Match"`
	CacheControl string `header:"Cache-Control"`
	Body         T
}

// singleOf answers with a thing, or with 304 when the caller has it. Version -1 is for
// things that have none.
func singleOf[T any](thing T, version int64, ifNoneMatch string) *single[T] {
	out := &single[T]{Status: http.StatusOK, Body: thing}
	if version < 0 {
		return out
	}
	out.ETag, out.CacheControl = etagOf(version), "private, no-cache"
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == out.ETag || tag == "*" {
			out.Status = http.StatusNotModified
		}
	}
	return out
}

// An answer to a change.
type changed[T any] struct {
	Status   int
	ETag     string `header:"ETag" doc:"The version that the thing has now"`
	Location string `header:"Location" doc:"Where the new thing is"`
	Revision string `header:"Tiergate-Revision" doc:"The revision that holds the change; absent when nothing changed"`
	InForce  string `header:"Tiergate-In-Force" doc:"true when the revision is in force on this server; false when it was not within two seconds"`
	Replayed string `header:"Idempotent-Replayed" doc:"true when an earlier request with the same Idempotency-Key did it"`
	Body     T
}

// updated answers to a change of a thing that was there, once it is in force.
func updated[T, U any](ctx context.Context, a *api, done tiergate.Written[T], err error, version func(T) int64, show func(T) U) (*changed[U], error) {
	if err != nil {
		return nil, err
	}
	out := &changed[U]{Status: http.StatusOK, ETag: etagOf(version(done.Thing)), Body: show(done.Thing)}
	out.Revision, out.InForce = a.settle(ctx, done.Resume)
	if done.Replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// made answers to the making of a thing.
func made[T, U any](ctx context.Context, a *api, done tiergate.Written[T], err error, version func(T) int64, show func(T) U, location string) (*changed[U], error) {
	out, err := updated(ctx, a, done, err, version, show)
	if err == nil {
		out.Status, out.Location = http.StatusCreated, location
	}
	return out, err
}

// An answer to a deletion.
type deleted struct {
	Revision string `header:"Tiergate-Revision" doc:"The revision that holds the change"`
	InForce  string `header:"Tiergate-In-Force" doc:"true when the revision is in force on this server; false when it was not within two seconds"`
}

func deletedOf[T any](ctx context.Context, a *api, done tiergate.Written[T], err error) (*deleted, error) {
	if err != nil {
		return nil, err
	}
	out := &deleted{}
	out.Revision, out.InForce = a.settle(ctx, done.Resume)
	return out, nil
}

// settle waits, for a bounded time, until a revision is in force here, and says whether it
// is. The change is made either way.
func (a *api) settle(ctx context.Context, r tiergate.Resume) (revision, inForce string) {
	if r == (tiergate.Resume{}) {
		return "", ""
	}
	revision = r.Revision()
	if a.Wait == nil {
		return revision, ""
	}
	bounded, cancel := context.WithTimeout(ctx, a.WaitTime)
	defer cancel()
	if err := a.Wait(bounded, r); err != nil {
		a.log.WarnContext(ctx, "a change is not in force yet", "revision", revision, "requestId", requestIDOf(ctx), "error", err.Error())
		return revision, "false"
	}
	return revision, "true"
}

// created documents a POST that makes something.
func created(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }

// conditional documents that a GET may answer 304.
func conditional(op *huma.Operation) {
	op.Responses = map[string]*huma.Response{"304": {Description: "You have it: the ETag is the one of If-None-Match"}}
}
