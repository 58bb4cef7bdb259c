package spool

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// A machine does to a log whatever may happen to one, and holds it to the model.
type machine struct{ *world }

func (m machine) must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func number(t *rapid.T, name string) int { return rapid.IntRange(0, 9999).Draw(t, name) }

// off ends the process in one of the ways there are, and returns the disk that it leaves.
func (m machine) off(t *rapid.T) *simFS {
	rnd := rand.New(rand.NewPCG(uint64(number(t, "image")), 5))
	switch rapid.SampledFrom([]string{"close", "kill", "power"}).Draw(t, "end") {
	case "close":
		err := m.close()
		m.must(t, m.settle())
		if err != nil && !isDisk(err) {
			t.Fatal(err)
		}
		return m.fs.killed()
	case "kill":
		return m.fs.killed()
	default:
		return m.fs.cut(rnd.IntN(3), rnd)
	}
}

func (m machine) on(t *rapid.T, fs *simFS) {
	fs.full, fs.failSync = false, 0
	m.must(t, m.restart(fs))
}

func (m machine) actions() map[string]func(*rapid.T) {
	step := func(what string) func(*rapid.T) {
		return func(t *rapid.T) { m.must(t, m.do(step{what, number(t, what)})) }
	}
	return map[string]func(*rapid.T){
		"append":              func(t *rapid.T) { m.must(t, m.append(number(t, "size")%200)) },
		"append more":         func(t *rapid.T) { m.must(t, m.append(number(t, "size")%20)) },
		"turn":                step("turn"),
		"turn again":          step("turn"),
		"upload":              step("upload"),
		"upload, answer lost": step("upload, answer lost"),
		"rewind":              step("rewind"),
		"time":                step("time"),
		"EIO":                 step("EIO"),
		"full":                step("full"),
		"renew": func(t *rapid.T) {
			if number(t, "often")%10 == 0 {
				step("renew")(t)
			}
		},
		"restart": func(t *rapid.T) { m.on(t, m.off(t)) },
		"flip a bit": func(t *rapid.T) {
			fs := m.off(t)
			if s, ok := m.spot(fs, number(t, "segment"), number(t, "offset")); ok {
				s.flip(m.world, number(t, "bit"))
			}
			m.on(t, fs)
		},
		"truncate": func(t *rapid.T) {
			fs := m.off(t)
			if s, ok := m.spot(fs, number(t, "segment"), number(t, "offset")); ok {
				s.truncate(m.world)
			}
			m.on(t, fs)
		},
		"lose the cursor": func(t *rapid.T) {
			fs := m.off(t)
			if node := fs.names[filepath.Join(simDir, cursorName)]; node != nil {
				node.live[number(t, "offset")%len(node.live)] ^= 1
				m.behind, m.damaged = 0, true
			}
			m.on(t, fs)
		},
	}
}

// Whatever happens to a log, and to its disk, the model and the ledger agree with it.
func TestLog_against_a_plain_model(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := machine{newWorld(newSimFS(uint64(number(rt, "disk"))))}
		m.must(rt, m.open())
		rt.Repeat(m.actions())
		m.must(rt, m.drain())
	})
}
