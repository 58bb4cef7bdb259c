package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/postgres"
)

// importCmd brings flags from elsewhere into a database.
type importCmd struct {
	Flagd importFlagdCmd `cmd:"" help:"Import a flagd flag file: all its flags in one revision; nothing is deleted."`
}

type importFlagdCmd struct {
	File     string `arg:"" help:"The flag file, JSON or YAML." type:"existingfile"`
	Database string `help:"The database, postgres://…" placeholder:"URL" required:""`
	DryRun   bool   `help:"Say what would happen and change nothing."`
}

// Run imports the good flags and names the others.
func (c *importFlagdCmd) Run(ctx context.Context, log *slog.Logger, out console) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	file, err := flagd.Parse(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.File, err)
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: c.Database, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	written, err := db.ImportFlags(ctx, file.Sets, file.Flags, tiergate.Write{
		Caller: tiergate.Caller{ID: "cli", Role: tiergate.PlatformAdmin},
		Reason: "import flagd " + c.File,
		DryRun: c.DryRun,
	})
	if err != nil {
		return fmt.Errorf("import %s: %w", c.File, err)
	}
	for _, p := range file.Problems {
		fmt.Fprintf(out.err, "left out %q: %s\n", p.Flag, p.Message)
	}
	done, place := "imported", ""
	switch {
	case c.DryRun:
		done = "could be imported"
	case written.Resume == tiergate.Resume{}:
		place = ", nothing was new"
	default:
		place = ", revision " + written.Resume.Revision()
	}
	_, err = fmt.Fprintf(out.out, "%s %s, %d left out%s\n", count(written.Thing, "flag", "flags"), done, len(file.Problems), place)
	return err
}
