package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A board prints what was measured and remembers what was not as it must be.
type board struct {
	to     io.Writer
	title  string
	missed []string
	held   int
}

// A bound is what a figure must be. The zero value demands nothing.
type bound struct {
	atMost  *float64
	atLeast *float64
}

func atMost(v float64) bound  { return bound{atMost: &v} }
func atLeast(v float64) bound { return bound{atLeast: &v} }

func (m bound) String() string {
	switch {
	case m.atMost != nil:
		return "≤ " + short(*m.atMost)
	case m.atLeast != nil:
		return "≥ " + short(*m.atLeast)
	}
	return ""
}

func (m bound) holds(v float64) bool {
	return (m.atMost == nil || v <= *m.atMost) && (m.atLeast == nil || v >= *m.atLeast)
}

// A cell is one figure, with what it must be.
type cell struct {
	name   string // of the figure, with its unit, such as "ns"
	figure float64
	must   bound
}

// begin starts a table.
func (b *board) begin(title string) {
	b.title = title
	fmt.Fprintf(b.to, "\n%s\n\n", title)
}

// row prints one line: a name, and each figure with what it must be behind it.
func (b *board) row(name string, cells ...cell) {
	var line strings.Builder
	fmt.Fprintf(&line, "  %-46s", name)
	for _, c := range cells {
		text := short(c.figure) + " " + c.name
		if must := c.must.String(); must != "" {
			verdict := "ok"
			if b.held++; !c.must.holds(c.figure) {
				verdict = "MISSED"
				b.missed = append(b.missed, fmt.Sprintf("%s, %s: %s, must be %s", b.title, name, text, must))
			}
			text += " (must " + must + ": " + verdict + ")"
		}
		line.WriteString("  " + text)
	}
	fmt.Fprintln(b.to, line.String())
}

// say prints a line as it is.
func (b *board) say(line string) { fmt.Fprintln(b.to, "  "+line) }

// close sums up.
func (b *board) close() {
	fmt.Fprintf(b.to, "\n%d figures have a bound, %d are past it\n", b.held, len(b.missed))
	for _, m := range b.missed {
		fmt.Fprintln(b.to, "  "+m)
	}
}

// short prints a figure with as many digits as it is worth, thousands apart.
func short(v float64) string {
	digits := 0
	switch {
	case v != float64(int64(v)) && v < 10:
		digits = 2
	case v != float64(int64(v)) && v < 100:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		return text
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
