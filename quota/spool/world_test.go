package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const simDir = "/data/usage"

// An entry is a record as the model knows it. Its payload follows from its serial number.
type entry struct {
	serial uint32
	size   int
}

func (e entry) id() (id [16]byte) {
	binary.BigEndian.PutUint32(id[:], e.serial)
	return id
}

func (e entry) payload() []byte {
	b := make([]byte, e.size)
	for i := range b {
		b[i] = byte(e.serial + uint32(i)*7)
	}
	return b
}

func entryOf(r Record) entry {
	return entry{binary.BigEndian.Uint32(r.ID[:]), len(r.Payload)}
}

// A world is a log on a simulated disk, a ledger that counts it, and a plain model of what
// both must know.
type world struct {
	fs  *simFS
	log *Log
	now time.Time
	o   Options

	serial  uint32
	waiting []waiting       // appended, and not known to be durable
	acked   map[int64]entry // by number: promised to be durable
	lostOK  map[int64]bool  // numbers that damage may have taken
	next    int64           // one past the highest number that is durable
	maybe   []entry         // refused, or cut off by a crash: they may be found after one, once
	hashes  map[int64]string
	renews  int
	// renewing: after a crash the log may be a new one.
	renewing bool

	// The ledger.
	id      string
	at      int64
	hash    string
	past    map[int64]string // where it was before
	counted map[uint32]int64 // serial to number
	behind  int64            // the cursor is at least here: Advance said so
	peak    int64            // where the ledger was before it lost its newest history, until the log knows

	refused bool // a segment may hold records that were refused, hidden by the one after it
	damaged bool // somebody has damaged the files
	alarm   bool // in a way that Open must see
	cut     bool // in a way that looks like a torn end: numbers may be used again
}

type waiting struct {
	ticket Ticket
	entry  entry
}

func newWorld(fs *simFS) *world {
	w := &world{
		fs: fs, now: time.Unix(1_700_000_000, 0), acked: map[int64]entry{}, lostOK: map[int64]bool{},
		hashes: map[int64]string{}, past: map[int64]string{}, counted: map[uint32]int64{},
	}
	w.o = Options{Dir: simDir, FS: fs, SegmentBytes: 1536, MaxBytes: 12 << 10, Keep: time.Minute, Now: func() time.Time { return w.now }}
	return w
}

func (w *world) open() error {
	l, err := open(w.o)
	if err != nil {
		return err
	}
	w.log = l
	if w.id == "" {
		w.id = l.ID()
	}
	return nil
}

func (w *world) append(size int) error {
	e := entry{w.serial, size}
	w.serial++
	t, err := w.log.Append(e.id(), e.payload())
	switch {
	case err == nil:
		w.waiting = append(w.waiting, waiting{t, e})
		return nil
	case errors.Is(err, ErrFull) && w.log.state.held+int64(len(w.log.state.queue)+recordHead+size) <= w.o.MaxBytes-w.o.SegmentBytes:
		return fmt.Errorf("refused while there is room: %w, %+v", err, w.log.Stats())
	case errors.Is(err, ErrFull), errors.Is(err, ErrBroken):
		return nil
	}
	return err
}

var gone = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// turn lets the writer work, and takes note of what it promises.
func (w *world) turn() error {
	w.log.turn()
	if w.log.state.unnoted != nil {
		w.log.noteAgain()
		w.noted()
	}
	if s := w.log.Stats(); s.Bytes < 0 || s.Bytes > w.o.MaxBytes || s.Records == 0 && s.Bytes > 0 && len(w.log.state.queue) == 0 {
		return fmt.Errorf("figures that cannot be: %+v", s)
	}
	return w.settle()
}

// noted takes note of a cursor that was written just now, if the disk took it.
func (w *world) noted() {
	if w.log.state.unnoted == nil {
		w.behind, w.peak = w.log.state.cursor.number, 0
	}
}

func (w *world) settle() error {
	for len(w.waiting) > 0 {
		first := w.waiting[0]
		err := first.ticket.Wait(gone)
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err == nil:
			w.acked[w.next], w.renewing = first.entry, false
			w.next++
		case errors.Is(err, ErrBroken) && first.ticket.Unwritten(): // it must not come back
		case errors.Is(err, ErrBroken):
			w.maybe, w.refused = append(w.maybe, first.entry), true
		default:
			return err
		}
		w.waiting = w.waiting[1:]
	}
	return nil
}

// note compares a batch with what was promised.
func (w *world) note(b Batch) error {
	if b.To-b.From != int64(len(b.Records))+b.Lost {
		return fmt.Errorf("a batch from %d to %d with %d records and %d lost", b.From, b.To, len(b.Records), b.Lost)
	}
	for at, hash := range map[int64]string{b.From: b.Before, b.To: b.After} {
		_, there := w.acked[at-1] // behind a gap, hashes are made up
		if known, ok := w.hashes[at]; ok && known != hash && (there || at == 0) && !w.lostOK[at-1] {
			return fmt.Errorf("the hash at %d was %.8s and is %.8s", at, known, hash)
		}
		w.hashes[at] = hash
	}
	for n := b.From; n < b.From+b.Lost; n++ {
		if e, ok := w.acked[n]; ok && !w.lostOK[n] && n >= w.at {
			return fmt.Errorf("record %d (%d) is lost", n, e.serial)
		}
	}
	for i, r := range b.Records {
		n, e := b.From+b.Lost+int64(i), entryOf(r)
		if string(r.Payload) != string(e.payload()) {
			return fmt.Errorf("record %d has another's payload", n)
		}
		want, ok := w.acked[n]
		switch {
		case ok && want == e:
		case ok && !w.lostOK[n]:
			return fmt.Errorf("record %d is %d and should be %d", n, e.serial, want.serial)
		default:
			if err := w.adopt(n, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt takes in a record that nobody was promised, and that a crash left behind.
func (w *world) adopt(n int64, e entry) error {
	i := slices.Index(w.maybe, e)
	switch {
	case i >= 0:
		w.maybe = w.maybe[i+1:] // in order
	case !w.damaged || w.elsewhere(n, e): // damage may take what hid an older copy
		return fmt.Errorf("record %d (%d) comes from nowhere, or twice", n, e.serial)
	}
	if w.damaged {
		w.lostOK[n] = true // nobody was promised it
	}
	w.acked[n] = e
	w.next = max(w.next, n+1)
	return nil
}

func (w *world) elsewhere(n int64, e entry) bool {
	for at, known := range w.acked {
		if known == e && at != n {
			return true
		}
	}
	return false
}

// upload sends one batch to the ledger, and with advance moves the cursor, as an uploader
// does that hears the answer.
func (w *world) upload(most int, advance bool) (progress bool, err error) {
	b, err := w.log.Read(most, 700)
	if err != nil {
		return false, err
	}
	if err := w.note(b); err != nil {
		return false, err
	}
	if w.at != b.From || w.hash != b.Before {
		return true, w.reposition()
	}
	if b.To == b.From {
		return false, nil
	}
	for i, r := range b.Records {
		serial := entryOf(r).serial
		if n, ok := w.counted[serial]; ok {
			return false, fmt.Errorf("record %d is counted twice: as %d and %d", serial, n, b.From+b.Lost+int64(i))
		}
		w.counted[serial] = b.From + b.Lost + int64(i)
	}
	w.at, w.hash = b.To, b.After
	w.past[b.To] = b.After
	if !advance {
		return true, nil
	}
	return true, w.advance(b.To)
}

func (w *world) advance(to int64) error {
	err := w.log.Advance(to)
	if err == nil {
		w.noted()
	}
	return err
}

// reposition does what the ledger asks for: it has counted up to another place.
func (w *world) reposition() error {
	err := w.log.Rewind(w.at, w.hash)
	switch {
	case err == nil:
		w.noted()
	case errors.Is(err, ErrHistory) && (w.cut || w.damaged && w.refused), errors.Is(err, ErrNotKept) && w.damaged:
		return w.renew()
	}
	return err
}

// renew sets everything aside: what the ledger has not counted is not promised any more.
func (w *world) renew() error {
	w.renewing = true
	err := w.log.Renew("a test says so")
	if errors.Is(err, ErrFull) { // somebody looks at the quarantine
		maps.DeleteFunc(w.fs.names, func(name string, _ *inode) bool { return strings.Contains(name, quarantineName) })
		maps.DeleteFunc(w.fs.durable, func(name string, _ *inode) bool { return strings.Contains(name, quarantineName) })
		err = w.log.Renew("a test says so")
	}
	if err != nil {
		return err
	}
	w.renews++
	w.renewing = false
	w.begin()
	if w.log.ID() == w.id {
		return errors.New("the log has kept its id")
	}
	w.id = w.log.ID()
	return nil
}

// begin forgets the log of before.
func (w *world) begin() {
	w.acked, w.lostOK, w.maybe = map[int64]entry{}, map[int64]bool{}, nil
	w.hashes, w.past = map[int64]string{}, map[int64]string{}
	w.next, w.at, w.hash, w.behind, w.peak, w.damaged, w.cut = 0, 0, "", 0, 0, false, false
}

// restart opens the log that another process left on a disk, and looks at what is there.
func (w *world) restart(fs *simFS) error {
	w.fs, w.o.FS = fs, fs
	for _, lost := range w.waiting {
		w.maybe = append(w.maybe, lost.entry)
	}
	w.waiting = nil
	if err := w.open(); err != nil {
		return err
	}
	if id := w.log.ID(); id != w.id {
		if !w.renewing {
			return errors.New("the log has another id")
		}
		w.begin()
		w.id = id
	}
	w.renewing = false
	return w.verify()
}

// verify checks what Open found against what was promised, and goes on from there.
func (w *world) verify() error {
	s := &w.log.state
	found := w.log.Recovery()
	switch {
	case s.cursor.number < w.behind:
		return fmt.Errorf("the cursor is at %d, and was durable at %d", s.cursor.number, w.behind)
	case s.cursor.number > max(w.at, w.peak):
		return fmt.Errorf("the cursor is at %d, and the ledger at %d", s.cursor.number, w.at)
	case w.log.kept() > s.cursor.number && !w.damaged:
		return fmt.Errorf("the cursor is at %d, and what is before %d is removed", s.cursor.number, w.log.kept())
	case w.alarm && len(found.Quarantined) == 0:
		return fmt.Errorf("no alarm: %+v", found)
	case !w.damaged && (len(found.Quarantined) > 0 || found.Behind > 0 || found.CursorLost || found.Copied):
		return fmt.Errorf("damage where there is none: %+v", found)
	case s.end.number < w.next && !w.cut:
		return fmt.Errorf("the log ends at %d, and %d are acknowledged", s.end.number, w.next)
	}
	end := s.end.number
	w.alarm = false
	if w.cut {
		maps.DeleteFunc(w.hashes, func(n int64, _ string) bool { return n > end })
		maps.DeleteFunc(w.lostOK, func(n int64, _ bool) bool { return n >= end })
		maps.DeleteFunc(w.acked, func(n int64, _ entry) bool { return n >= end })
	}
	// What is there beyond what was promised becomes known by reading.
	from := w.log.at
	for w.log.at.number < end {
		b, err := w.log.Read(1000, 1<<20)
		if err != nil {
			return err
		}
		if err := w.note(b); err != nil {
			return err
		}
		if b.To == b.From {
			return fmt.Errorf("nothing to read at %d of %d", b.From, end)
		}
		w.log.at = w.log.ahead
	}
	w.log.at, w.log.ahead = from, from
	w.next = end
	w.maybe = nil // what was not found now is not to come back
	return nil
}

// drain uploads everything, and checks that the ledger has counted each record that was
// promised, in order.
func (w *world) drain() error {
	w.fs.full, w.fs.failSync = false, 0
	for range 3 {
		if err := w.turn(); err != nil {
			return err
		}
	}
	for i := 0; ; i++ {
		progress, err := w.upload(7, true)
		if err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if !progress {
			break
		}
		if i > 5000 {
			return errors.New("the log is never empty")
		}
	}
	for n, e := range w.acked {
		if got, ok := w.counted[e.serial]; (!ok || got != n) && !w.lostOK[n] {
			return fmt.Errorf("record %d (%d) was acknowledged and is counted as %d, %v", n, e.serial, got, ok)
		}
	}
	if w.at != w.log.state.end.number {
		return fmt.Errorf("the ledger is at %d of %d", w.at, w.log.state.end.number)
	}
	return nil
}

// A step is something that happens in a world. Steps are data, so that the same trace can
// be run again up to another crash.
type step struct {
	what string
	n    int
}

func (w *world) do(s step) error {
	switch s.what {
	case "append":
		return w.append(s.n)
	case "turn":
		return w.turn()
	case "upload":
		_, err := w.upload(1+s.n%9, true)
		return w.tolerate(err)
	case "upload, answer lost":
		_, err := w.upload(1+s.n%9, false)
		return w.tolerate(err)
	case "rewind":
		return w.tolerate(w.rewind(s.n))
	case "renew":
		if err := w.turn(); err != nil {
			return err
		}
		return w.tolerate(w.renew())
	case "time":
		w.now = w.now.Add(time.Duration(s.n) * time.Second)
	case "full":
		w.fs.full = !w.fs.full
	case "EIO":
		w.fs.failSync, w.refused = 1+s.n%3, true
	case "reopen":
		return w.reopen()
	case "kill":
		return w.reborn(w.fs.killed())
	}
	return nil
}

// tolerate takes an error of the disk for what it is: nothing is promised then.
func (w *world) tolerate(err error) error {
	if isDisk(err) && (w.fs.dead || w.fs.fired["EIO"]+w.fs.fired["ENOSPC"] > 0) {
		return nil
	}
	return err
}

// rewind is a ledger that has lost its newest history, and gets it again.
func (w *world) rewind(n int) error {
	to := w.at - int64(n%12)
	hash, ok := w.past[to]
	if !ok {
		return nil
	}
	kept := w.log.kept()
	if to < kept && to < w.log.state.cursor.number {
		if err := w.log.Rewind(to, hash); !errors.Is(err, ErrNotKept) {
			return fmt.Errorf("rewound to %d, and %d is the oldest that is kept: %w", to, kept, err)
		}
		return nil
	}
	if to < kept && w.damaged {
		return nil // believed: the cursor that told otherwise may be lost
	}
	w.peak, w.at, w.hash, w.behind = max(w.peak, w.at), to, hash, min(w.behind, to)
	for serial, n := range w.counted {
		if n >= to {
			delete(w.counted, serial)
		}
	}
	if err := w.reposition(); err != nil {
		return err
	}
	if to > 0 && hash != "" && w.log.Rewind(to, "00"+hash[2:]) == nil && hash[:2] != "00" && !w.damaged {
		return errors.New("rewound to a history that never was")
	}
	return nil
}

// reopen closes the log and opens it again.
func (w *world) reopen() error {
	err := w.close()
	if err := w.settle(); err != nil {
		return err
	}
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	return w.reborn(w.fs)
}

// close is Close without the writer's goroutine.
func (w *world) close() error {
	w.log.stopped = make(chan struct{})
	go w.log.run()
	return w.log.Close()
}

// reborn opens the log on a disk that works again.
func (w *world) reborn(fs *simFS) error {
	fs.full, fs.failSync = false, 0
	return w.restart(fs)
}

// steps draws a trace.
func steps(rnd *rand.Rand, n int, faults bool) []step {
	var all []step
	for range n {
		k := rnd.IntN(100)
		if !faults && k >= 94 {
			k = 0
		}
		switch {
		case k < 45:
			all = append(all, step{"append", rnd.IntN(200)})
		case k < 70:
			all = append(all, step{"turn", 0})
		case k < 80:
			all = append(all, step{"upload", rnd.IntN(100)})
		case k < 84:
			all = append(all, step{"upload, answer lost", rnd.IntN(100)})
		case k < 87:
			all = append(all, step{"rewind", rnd.IntN(100)})
		case k < 88:
			all = append(all, step{"renew", 0})
		case k < 91:
			all = append(all, step{"time", rnd.IntN(100)})
		case k < 92:
			all = append(all, step{"reopen", 0})
		case k < 94:
			all = append(all, step{"kill", 0})
		case k < 97:
			all = append(all, step{"EIO", rnd.IntN(100)})
		default:
			all = append(all, step{"full", 0})
		}
	}
	return all
}
