package provider_test

import (
	"os"
	"strings"
	"testing"
)

// The guide shows what is compiled and, but for what needs a database, run: each of its blocks of Go is,
// apart from white space, a part of the examples.
func TestDocs_are_the_examples(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	plain := func(code string) string { return strings.Join(strings.Fields(code), " ") }
	examples, blocks := plain(read("example_test.go")), 0
	for i, part := range strings.Split(read("../docs/clients/go.md"), "\n```") {
		language, code, _ := strings.Cut(part, "\n")
		if i%2 == 0 || language != "go" {
			continue
		}
		if blocks++; !strings.Contains(examples, plain(code)) {
			t.Errorf("no example has this block:\n%s", code)
		}
	}
	if blocks < 4 {
		t.Errorf("the guide shows %d blocks: a sidecar, a folder, a Postgres and a stream are missing some", blocks)
	}
}
