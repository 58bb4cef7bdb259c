package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// silentFor is how long a stream may say nothing at all; a sidecar says something each
	// quarter of a minute.
	silentFor = 45 * time.Second
	// maxLine bounds a line of a stream.
	maxLine = 1 << 20
)

// An eventStream is where a sidecar tells of changes, as OFREP has it. Its URL is a secret.
type eventStream struct {
	Type     string `json:"type"`
	URL      string `json:"url"`
	Endpoint *struct {
		Origin     string `json:"origin"`
		RequestURI string `json:"requestUri"`
	} `json:"endpoint"`
}

// streamOf returns the address of the first stream that we can follow, "" for none.
func (d *door) streamOf(streams []eventStream) string {
	at := slices.IndexFunc(streams, func(s eventStream) bool { return s.Type == "sse" && (s.URL != "" || s.Endpoint != nil) })
	if at < 0 {
		return ""
	}
	s := streams[at]
	if s.URL != "" {
		return s.URL
	}
	origin := s.Endpoint.Origin
	if origin == "" {
		origin = (&url.URL{Scheme: d.base.Scheme, Host: d.base.Host}).String()
	}
	return strings.TrimSuffix(origin, "/") + "/" + strings.TrimPrefix(s.Endpoint.RequestURI, "/")
}

// An event says that something has changed: the flags that it names, or anything.
type event struct {
	Type  string   `json:"type"`
	Etag  string   `json:"etag"`
	Flags []string `json:"flags"`
}

// A stream is an event stream that is connected.
type stream struct {
	body  io.ReadCloser
	lines *bufio.Reader
	told  string // the id of the last event
}

// connect opens an event stream, which ends with ctx. Errors do not tell its address.
func (d *door) connect(ctx context.Context, address string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("connect to the event stream: its address is none")
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-store")
	res, err := d.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("connect to the event stream: %w", err)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode != http.StatusOK || kind != "text/event-stream" {
		_ = res.Body.Close()
		return nil, fmt.Errorf("connect to the event stream: %w", &busyError{status: res.StatusCode, wait: retryAfter(res.Header)})
	}
	return &stream{body: res.Body, lines: bufio.NewReaderSize(res.Body, 4<<10)}, nil
}

func (s *stream) close() { _ = s.body.Close() }

// next returns the next event that says that something has changed. Alive is called for each
// line: a comment is a sign of life. An event that is told again, for those who may have asked a
// sidecar that was behind, says nothing to us: we keep no answers of earlier states.
func (s *stream) next(alive func()) (event, error) {
	var id string
	var data []byte
	for {
		line, err := s.line()
		if err != nil {
			return event{}, err
		}
		alive()
		if len(line) > 0 {
			switch name, text, _ := bytes.Cut(line, []byte(":")); string(name) {
			case "id":
				id = string(bytes.TrimPrefix(text, []byte(" ")))
			case "data":
				data = append(append(data, bytes.TrimPrefix(text, []byte(" "))...), '\n')
			}
			if len(data) > maxLine {
				return event{}, errors.New("an event is too long")
			}
			continue
		}
		var e event
		if len(data) > 0 && json.Unmarshal(data, &e) == nil && e.Type == "refetchEvaluation" && (id == "" || id != s.told) {
			s.told = id
			return e, nil
		}
		id, data = "", data[:0]
	}
}

// line reads one line without its end. A line that is too long ends the stream.
func (s *stream) line() ([]byte, error) {
	var long []byte
	for {
		part, err := s.lines.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return bytes.TrimRight(part, "\r\n"), nil
		case err == nil:
			return bytes.TrimRight(append(long, part...), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
		if long = append(long, part...); len(long) > maxLine {
			return nil, errors.New("a line is too long")
		}
	}
}
