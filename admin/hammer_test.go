package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// Fiber reuses its buffers for the next request. Requests of many lengths, each with a
// text of its own wherever a text can stand, must leave exactly those texts behind.
func TestHammer_stored_is_what_was_sent(t *testing.T) {
	const workers, each = 8, 150
	w := newWorld(t)
	addr := served(t, admin.New(w.config))
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range each {
				if err := hammer(client, addr, fmt.Sprintf("%d-%d", worker, i), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	checkStored(t, w, workers*each)
}

// hammer creates one flag, whose every text is a repetition of its own mark.
func hammer(client *http.Client, addr, mark string, length int) error {
	text := strings.Repeat(mark+".", 1+length%17)
	body, err := json.Marshal(map[string]any{
		"name": "f" + mark, "title": text, "description": text, "type": "string",
		"variants": map[string]any{"v" + mark: text}, "defaultVariant": "v" + mark,
		"rules": map[string]any{"tiers": []string{"t" + mark}, "targeting": map[string]any{"cat": []string{text}}},
	})
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/api/features", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + adminToken, "Content-Type": "application/json",
		"X-Request-Id": mark, "Change-Reason": text, "Idempotency-Key": "k" + mark,
	} {
		r.Header.Set(name, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated || resp.Header.Get("X-Request-Id") != mark {
		return fmt.Errorf("%s: status %d, id %q, %w: %s", mark, resp.StatusCode, resp.Header.Get("X-Request-Id"), err, answer)
	}
	return nil
}

// checkStored holds every stored text against the mark in its flag's name.
func checkStored(t *testing.T, w *world, want int) {
	t.Helper()
	if len(w.flags.things) != want {
		t.Errorf("%d flags are stored, want %d", len(w.flags.things), want)
	}
	for _, f := range w.flags.things {
		mark := f.Name[1:]
		pure := func(text string) bool { return strings.ReplaceAll(text, mark+".", "") == "" && text != "" }
		var value string
		var rule struct{ Cat []string }
		_ = json.Unmarshal(f.Variants["v"+mark], &value)
		_ = json.Unmarshal(f.Rules.Targeting, &rule)
		if !pure(f.Title) || !pure(f.Description) || !pure(value) || len(rule.Cat) != 1 || !pure(rule.Cat[0]) ||
			f.Rules.Tiers[0] != "t"+mark || f.DefaultVariant != "v"+mark {
			t.Errorf("flag %s was mixed up with another: %+v", f.Name, f)
		}
	}
	for _, write := range w.flags.writes {
		mark := write.IdempotencyKey[1:]
		if write.RequestID != mark || strings.ReplaceAll(write.Reason, mark+".", "") != "" || write.Caller.ID != "token:admin" {
			t.Errorf("write %s was mixed up with another: %+v", mark, write)
		}
	}
}
