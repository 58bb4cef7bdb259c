package flagdtest

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/tiergate/tiergate/internal/npmtest"
)

// An Answer is what an evaluator says about one flag and context.
type Answer struct {
	Variant   string          `json:"variant,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"` // nil when the code default applies
	Reason    string          `json:"reason"`
	ErrorCode string          `json:"errorCode,omitempty"`
	// Unknown is the result that names no variant, nil when the rule itself failed.
	// Evaluators that do not tell the two apart leave it nil.
	Unknown *string `json:"unknown,omitempty"`
}

// A Question asks for one flag in one evaluation context.
type Question struct {
	Flag    string          `json:"flag"`
	Context json.RawMessage `json:"context"`
	Now     int64           `json:"now"` // Unix seconds
}

// An oracle is a process that runs flagd-core.
type oracle struct {
	t   testing.TB
	in  *bufio.Writer
	out *bufio.Reader
}

// startOracle starts flagd-core, installing it first when it is not there.
func startOracle(t testing.TB) *oracle {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	dir := npmtest.InstallIn(t, filepath.Join(filepath.Dir(here), "oracle"))
	cmd := exec.CommandContext(t.Context(), "node", "oracle.cjs")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // ends the process
		_ = cmd.Wait()
	})
	return &oracle{t: t, in: bufio.NewWriter(in), out: bufio.NewReaderSize(out, 1<<20)}
}

func (o *oracle) write(request any) {
	text, err := json.Marshal(request)
	if err == nil {
		_, err = o.in.Write(append(text, '\n'))
	}
	if err != nil {
		o.t.Errorf("ask the oracle: %v", err)
	}
}

func (o *oracle) read(answer any) {
	o.t.Helper()
	line, err := o.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, answer)
	}
	if err != nil {
		o.t.Fatalf("the oracle's answer: %v", err)
	}
}

// load hands a flag file over.
func (o *oracle) load(file []byte) {
	o.t.Helper()
	o.write(map[string]string{"load": string(file)})
	_ = o.in.Flush()
	var answer struct{ Refused string }
	if o.read(&answer); answer.Refused != "" {
		o.t.Fatalf("the oracle refuses the flag file: %s", answer.Refused)
	}
}

// ask asks all questions; they are written while answers are read.
func (o *oracle) ask(questions []Question) []Answer {
	o.t.Helper()
	var writing sync.WaitGroup
	writing.Go(func() {
		for _, q := range questions {
			o.write(q)
		}
		_ = o.in.Flush()
	})
	defer writing.Wait()
	answers := make([]Answer, len(questions))
	for i := range answers {
		o.read(&answers[i])
	}
	return answers
}
