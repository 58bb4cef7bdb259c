package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// instructions are the lines of the Dockerfile, cut into words, without comments.
func instructions(t *testing.T) [][]string {
	t.Helper()
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	var all [][]string
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			words[0] = strings.ToUpper(words[0])
			all = append(all, words)
		}
	}
	return all
}

// ignored are the patterns that keep files of the checkout from the image's build.
func ignored(t *testing.T) []*regexp.Regexp {
	t.Helper()
	var patterns []*regexp.Regexp
	for line := range strings.Lines(read(t, ".dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "!") {
			t.Fatalf(".dockerignore has an exception, which this test does not read: %s", line)
		}
		p := regexp.QuoteMeta(strings.Trim(line, "/"))
		p = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(p)
		patterns = append(patterns, regexp.MustCompile("^"+p+"(/|$)"))
	}
	return patterns
}

func hides(patterns []*regexp.Regexp, name string) bool {
	for _, p := range patterns {
		if p.MatchString(name) {
			return true
		}
	}
	return false
}

// What the Dockerfile copies exists, in the checkout or in the stage that it is copied
// from, and .dockerignore does not hide it.
func TestDockerfile_copies_what_exists(t *testing.T) {
	hidden, stages, copied, made := ignored(t), map[string]bool{}, 0, ""
	for _, words := range instructions(t) {
		switch words[0] {
		case "FROM":
			if len(words) == 4 && strings.EqualFold(words[2], "as") {
				stages[words[3]] = true
			}
		case "RUN":
			made += strings.Join(words[1:], " ") + "\n"
		case "COPY", "ADD":
			copied++
			from, sources := "", []string{}
			for _, word := range words[1 : len(words)-1] {
				if stage, ok := strings.CutPrefix(word, "--from="); ok {
					from = stage
				} else if !strings.HasPrefix(word, "--") {
					sources = append(sources, word)
				}
			}
			for _, source := range sources {
				checkSource(t, hidden, stages, from, made, source)
			}
		}
	}
	if copied == 0 {
		t.Error("the Dockerfile copies nothing: this test does not read it any more")
	}
}

func checkSource(t *testing.T, hidden []*regexp.Regexp, stages map[string]bool, from, made, source string) {
	t.Helper()
	if from != "" {
		if !stages[from] || !regexp.MustCompile(`(^|\s)`+regexp.QuoteMeta(source)+`(\s|$)`).MatchString(made) {
			t.Errorf("the Dockerfile copies %s from stage %s, and no RUN before makes it", source, from)
		}
		return
	}
	found, err := filepath.Glob(filepath.Join(root, source))
	if err != nil || len(found) == 0 {
		t.Errorf("the Dockerfile copies %s, which does not exist", source)
	}
	if name := path.Clean(source); name != "." && hides(hidden, name) {
		t.Errorf("the Dockerfile copies %s, which .dockerignore hides", source)
	}
}

// .dockerignore hides no file that the program is built from.
func TestDockerignore_hides_nothing_of_the_program(t *testing.T) {
	hidden := ignored(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Dir,ImportPath,GoFiles,EmbedFiles", "./cmd/tiergate")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	checked := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath          string
			GoFiles, EmbedFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !inside(p.ImportPath, module) {
			continue
		}
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, file := range append(p.GoFiles, p.EmbedFiles...) {
			checked++
			if name := path.Join(folder, file); hides(hidden, name) {
				t.Errorf(".dockerignore hides %s, which the program is built from", name)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d files were looked at", checked)
	}
	for _, name := range []string{".git/HEAD", "data/postgres/data/PG_VERSION", "server/ofrep/ofreptest/node_modules/x/index.js"} {
		if !hides(hidden, name) {
			t.Errorf(".dockerignore lets %s into the build", name)
		}
	}
}

// The image is built with the Go of go.mod, holds one static binary, and does not run as root.
func TestDockerfile_is_static_and_not_root(t *testing.T) {
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil {
		t.Fatal("go.mod names no version of Go")
	}
	all := instructions(t)
	if first := all[0]; first[0] != "FROM" || !strings.HasPrefix(first[1], "golang:"+version[1]+"-") && first[1] != "golang:"+version[1] {
		t.Errorf("the image is built from %v, and go.mod says Go %s", first, version[1])
	}
	last := 0
	for i, words := range all {
		if words[0] == "FROM" {
			last = i
		}
	}
	build, image := join(all[:last]), join(all[last:])
	for _, want := range []string{"CGO_ENABLED=0 go build ", "-o /tiergate ./cmd/tiergate"} {
		if !strings.Contains(build, want) {
			t.Errorf("the build does not say %q:\n%s", want, build)
		}
	}
	for _, want := range []string{"/static", "USER nonroot", `ENTRYPOINT ["/tiergate"]`, "COPY --from=build /tiergate /tiergate"} {
		if !strings.Contains(image, want) {
			t.Errorf("the image does not say %q:\n%s", want, image)
		}
	}
	if n := strings.Count(image, "FROM "); n != 1 || strings.Contains(image, "\nRUN ") {
		t.Errorf("the image is not one stage that only copies:\n%s", image)
	}
}

func join(all [][]string) string {
	var b strings.Builder
	for _, words := range all {
		b.WriteString(strings.Join(words, " ") + "\n")
	}
	return b.String()
}
