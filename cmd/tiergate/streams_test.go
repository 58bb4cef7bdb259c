package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// streamURL asks for all flags and returns the address of the event stream that the answer
// tells of, "" for none.
func (p *program) streamURL(t *testing.T, header ...string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.url(p.http, "/ofrep/v1/evaluate/flags"), strings.NewReader(`{"context":{"targetingKey":"bob"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.visitor().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		EventStreams []struct{ Endpoint struct{ RequestURI string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != 200 {
		t.Fatalf("all flags are answered with %d, %v", resp.StatusCode, err)
	}
	if len(answer.EventStreams) == 0 {
		return ""
	}
	return p.url(p.http, answer.EventStreams[0].Endpoint.RequestURI)
}

// listen opens an event stream and returns what comes on it, line by line, until it ends.
func (p *program) listen(t *testing.T, url string) <-chan string {
	t.Helper()
	resp, err := p.visitor().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if text := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || text != "text/event-stream" {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("the stream is answered with %d %s: %s", resp.StatusCode, text, body)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for all := bufio.NewScanner(resp.Body); all.Scan(); {
			lines <- all.Text()
		}
	}()
	return lines
}

// event waits for an event and returns whether one came before the stream ended.
func event(lines <-chan string) bool {
	for line := range lines {
		if strings.HasPrefix(line, "data: ") {
			return true
		}
	}
	return false
}

// A client that asked for all flags hears of a change through the stream that its answer told of;
// the end of the sidecar ends the stream, and the sidecar that starts on the same data directory
// knows it again, before anything else has been said.
func TestSidecar_streams_events(t *testing.T) {
	flags, data := folderOf(t, oneFlag), dataDir(t)
	p := launch(t, data, "sidecar", "--source", "file:"+flags)
	p.waitReady(t)
	url := p.streamURL(t)
	lines := p.listen(t, url)
	save(t, flags, "flags.json", []byte(strings.Replace(oneFlag, `"a": 1`, `"a": 2`, 1)))
	if !event(lines) {
		t.Fatal("the stream ends and tells nothing of a change")
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 || event(lines) {
		t.Errorf("the sidecar ends with %d", code)
	}
	again := launchOn(t, &program{http: p.http, ops: p.ops, adm: p.adm}, data, "sidecar", "--source", "file:"+flags)
	again.waitReady(t)
	if !event(again.listen(t, url)) {
		t.Error("who came back hears nothing of what it missed")
	}
	if text := p.out.String() + again.out.String(); strings.Contains(text, "token=") || strings.Contains(text, url) {
		t.Errorf("a token was logged:\n%s", text)
	}
	none := launch(t, dataDir(t), "sidecar", "--source", "file:"+flags, "--max-streams", "0")
	none.waitReady(t)
	if url := none.streamURL(t); url != "" {
		t.Errorf("without streams an answer tells of %s", url)
	}
}

// Where sidecars share a key, what one tells it tells once more: a client may have asked another one
// that was behind.
func TestSidecar_with_a_shared_key_tells_twice(t *testing.T) {
	flags, key := folderOf(t, oneFlag), save(t, t.TempDir(), "key", bytes.Repeat([]byte("k"), 32))
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+flags, "--stream-key", key)
	p.waitReady(t)
	lines := p.listen(t, p.streamURL(t))
	save(t, flags, "flags.json", []byte(strings.Replace(oneFlag, `"a": 1`, `"a": 2`, 1)))
	late, last := time.After(20*time.Second), ""
	for {
		select {
		case line, open := <-lines:
			id, is := strings.CutPrefix(line, "id: ")
			switch {
			case !open:
				t.Fatal("the stream ends")
			case is && id == last:
				return
			case is:
				last = id
			}
		case <-late:
			t.Fatalf("%q is told only once", last)
		}
	}
}

// A stream needs no header, which a page cannot send, and ends when the key that it was given for
// is revoked.
func TestSidecar_ends_the_stream_of_a_revoked_key(t *testing.T) {
	text, key := mint("globex")
	d := seeded(t, tiergate.PutOf(key))
	p := launch(t, dataDir(t), "sidecar", "--source", d.url(), "--auth", "keys")
	p.waitReady(t)
	url := p.streamURL(t, "X-API-Key", text)
	lines := p.listen(t, url)
	pgtest.Exec(t, d.url(), "update feature_flags set enabled = not enabled where name = 'new-dashboard'")
	if !event(lines) {
		t.Fatal("the stream ends and tells nothing of a change")
	}
	pgtest.Exec(t, d.url(), "update team_api_keys set state = 'revoked' where id = '"+key.ID+"'")
	for event(lines) { // until it ends
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("the revoked key's stream is answered with %d", resp.StatusCode)
	}
}

// The key of streams is the operator's, who is told which file cannot be used; else it is the data
// directory's own.
func TestStreamSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	made, err := streamSecret("", dir)
	if err != nil || len(made) < 32 {
		t.Fatalf("%q, %v", made, err)
	}
	if again, err := streamSecret("", dir); err != nil || !bytes.Equal(made, again) {
		t.Errorf("again: %q, %v", again, err)
	}
	if given, err := streamSecret(filepath.Join(dir, streamKeyName), "nowhere"); err != nil || !bytes.Equal(made, given) {
		t.Errorf("given: %q, %v", given, err)
	}
	short := save(t, t.TempDir(), "short", []byte("too short\n"))
	if got, err := streamSecret(short, dir); err == nil || got != nil || !strings.HasPrefix(err.Error(), "read the key of event streams: the key file "+short) {
		t.Errorf("a short key: %q, %v", got, err)
	}
}
