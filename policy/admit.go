package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
)

// admissionArgument is the hidden command of the child process that admits a policy.
const admissionArgument = "__tiergate_admit_policy"

// Bounds of the child process.
const (
	admissionMemory  = 512 << 20        // bytes of address space beyond what it starts with
	admissionCPU     = 10               // seconds of processor time
	admissionTime    = 30 * time.Second // by the wall clock
	admissionMessage = 8 << 20          // bytes of what it is told and of what it says
)

// armed is set once AdmissionMain has run: only then is this program fit to be its own
// child.
var armed atomic.Bool

// An admissionOrder is what the child is told, as JSON on its standard input.
type admissionOrder struct {
	Modules     map[string]string `json:"modules"`
	Definitions Definitions       `json:"definitions"`
}

// An admissionReport is what the child says, as JSON on its standard output.
type admissionReport struct {
	Admission string    `json:"admission,omitempty"`
	Problems  []Problem `json:"problems,omitempty"`
}

// Admit tries a policy out before anybody publishes or loads it: it compiles the modules
// and asks each entry point worst-case questions, in a child process with hard limits on
// memory and processor time, so that a policy which would kill a sidecar kills nothing. It
// returns AdmissionID. A policy that is refused is an *Error; anything else means that
// admission itself could not be done. The program's main must have called AdmissionMain.
func Admit(ctx context.Context, modules map[string]string, defs Definitions) (string, error) {
	if !armed.Load() {
		return "", errors.New("admit the policy: this program does not call policy.AdmissionMain")
	}
	size := 0
	for path, text := range modules {
		size += len(path) + len(text)
	}
	if size > admissionMessage/4 {
		return "", refuse("", "the modules are %d bytes, more than %d", size, maxModuleBytes)
	}
	order, err := json.Marshal(admissionOrder{modules, defs})
	if err != nil {
		return "", refuse("", "the policy is no text: %v", err)
	}
	report, err := runChild(ctx, order)
	switch {
	case err != nil:
		return "", err
	case len(report.Problems) > 0:
		return "", &Error{Problems: report.Problems}
	case report.Admission != AdmissionID():
		return "", fmt.Errorf("admit the policy: the child process says %q", report.Admission)
	}
	return report.Admission, nil
}

func runChild(ctx context.Context, order []byte) (admissionReport, error) {
	program, err := os.Executable()
	if err != nil {
		return admissionReport{}, fmt.Errorf("admit the policy: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, admissionTime)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, admissionArgument)
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"} // none of ours: no credentials
	cmd.Stdin = bytes.NewReader(order)
	cmd.Stdout, cmd.Stderr = &limitedBuffer{&out, admissionMessage}, &limitedBuffer{&said, 4 << 10}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var report admissionReport
	switch {
	case err == nil:
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			return report, fmt.Errorf("admit the policy: read the child process's report: %w", err)
		}
		return report, nil
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return report, tiergate.Errorf(tiergate.Unavailable, "the admission was cancelled").Because(ctx.Err())
	case ctx.Err() != nil:
		return report, refuse("", "the policy was not tried out within %s", admissionTime)
	}
	return report, deathOf(err, said.String())
}

// deathOf tells a policy that killed the child from a child that could not run.
func deathOf(err error, said string) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case !ok:
		return fmt.Errorf("admit the policy: %w", err)
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate"):
		return refuse("", "the policy takes more than %d MiB of memory", admissionMemory>>20)
	case strings.Contains(said, "stack overflow") || strings.Contains(said, "stack exceeds"):
		return refuse("", "the policy nests without end")
	case killedByCPU(exit):
		return refuse("", "the policy takes more than %d seconds of processor time", admissionCPU)
	}
	return refuse("", "the process that tried the policy out died: %s: %.200s", exit, firstLine(said))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// AdmissionMain is the main function of the child process that admits a policy. It is
// called first thing by main, and by TestMain of tests that admit: in the child it does not
// return, in any other process it does nothing else than to note that it was called.
func AdmissionMain() {
	if len(os.Args) != 2 || os.Args[1] != admissionArgument {
		armed.Store(true)
		return
	}
	if err := limitChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var order admissionOrder
	if err := json.NewDecoder(io.LimitReader(os.Stdin, admissionMessage)).Decode(&order); err != nil {
		fmt.Fprintln(os.Stderr, "read the policy:", err)
		os.Exit(1)
	}
	report := admissionReport{Admission: AdmissionID()}
	if err := try(order.Modules, order.Definitions); err != nil {
		report = admissionReport{Problems: []Problem{{Message: err.Error()}}}
		if refused, ok := errors.AsType[*Error](err); ok {
			report.Problems = refused.Problems
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// A limitedBuffer keeps the first bytes and swallows the rest.
type limitedBuffer struct {
	buf  *bytes.Buffer
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.buf.Write(p[:n])
	b.left -= n
	return len(p), nil
}
