package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tiergate/tiergate/policy"
)

// version is set by the linker.
var version = "dev"

func main() {
	policy.AdmissionMain() // does not return in the child process that admits a policy

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], console{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// A console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
}

// run is the whole program: 0 when all went well, 1 with one sentence on err when not,
// 2 when the command line or the configuration is wrong.
func run(ctx context.Context, args []string, c console) int {
	var cli cli
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("tiergate"),
		kong.Description("Feature flags, tiers, access policy and limits, decided next to the application."),
		kong.DefaultEnvars("TIERGATE"),
		kong.Configuration(loadConfig),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { exit = code }),
		kong.UsageOnError(),
		kong.Vars{"version": version},
	)
	if err != nil {
		panic("tiergate: bug: " + err.Error())
	}
	kctx, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintln(c.err, "tiergate:", told(err))
		return 2
	}
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: cli.logLevel()}))
	kctx.BindTo(ctx, (*context.Context)(nil))
	kctx.Bind(log, c, parser)
	if err := kctx.Run(); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		fmt.Fprintln(c.err, "tiergate:", told(err))
		return 1
	}
	return 0
}

// told returns what an error says on one line and once; the mistakes of a policy have a
// line each.
func told(err error) string {
	if _, ok := errors.AsType[*policy.Error](err); ok {
		return err.Error()
	}
	var said []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(said, line) {
			said = append(said, line)
		}
	}
	return strings.ReplaceAll(strings.Join(said, "; "), ":; ", ": ")
}
