package quota

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tiergate/tiergate"
)

// The counter file: what one process has spent of its leases, in memory that the kernel
// keeps when the process is killed. It is a page that says whose it is, and then slots of 64
// bytes. Integers are in the machine's own order: it is never read on another machine.
const (
	countersName  = "counters-" // and the holder's id
	countersMagic = "tiergate counters 1"
	headerBytes   = 4096
	slotBytes     = 64
	// maxSlots is how many leases a holder may have at once: 16 MiB.
	maxSlots = 1 << 18
)

// errManyLeases is why an account has no slot.
var errManyLeases = errors.New("there are more leases than the counter file has room for")

// counters is a counter file in use. Safe for concurrent use.
type counters struct {
	path string
	file *os.File
	data []byte
	head countersHead

	most int // slots that may be used at once
	mu   sync.Mutex
	next int     // slots from here on were never used
	idle []*slot // slots that were
}

// countersHead is the first page: four lines of text with a checksum, then the tokens,
// which change with each message.
type countersHead struct {
	Boot   string // the machine's start: in another one, the file may lack what was written last
	Holder string
	Log    string // the usage log that the holder records in
	Inode  uint64 // the file's own: a copy has another
}

// A slot is one lease's counters. A nil slot keeps nothing.
type slot struct {
	words *[slotBytes / 8]atomic.Int64
	owner *counters
}

// The words of a slot. The name is a hash of the bucket, so that a slot says whose it is.
const (
	slotName0 = iota
	slotName1
	slotGranted
	slotSpent
	slotFence
	slotUploaded
)

func nameOf(b tiergate.Bucket) (int64, int64) {
	sum := sha256.Sum256([]byte(strings.Join([]string{b.Limit, b.Scope, b.Subject, b.Period}, "\n")))
	return int64(binary.LittleEndian.Uint64(sum[:8]) | 1), int64(binary.LittleEndian.Uint64(sum[8:16])) // a name is never 0
}

func (s *slot) keep(granted, spent, fence int64) {
	s.words[slotGranted].Store(granted)
	s.words[slotSpent].Store(spent)
	s.words[slotFence].Store(fence)
}

// uploaded is how many of the spent units the ledger has counted.
func (s *slot) uploaded() int64 { return s.words[slotUploaded].Load() }

func (s *slot) upload(units int64) {
	if s != nil {
		s.words[slotUploaded].Add(units)
	}
}

// free gives the slot back for another lease.
func (s *slot) free() {
	if s == nil {
		return
	}
	for i := range s.words {
		s.words[i].Store(0)
	}
	s.owner.mu.Lock()
	s.owner.idle = append(s.owner.idle, s)
	s.owner.mu.Unlock()
}

// createCounters makes the counter file of a new holder in dir. All of its room is taken
// from the disk at once: a full disk must not end the process later.
func createCounters(dir, holder, log string) (*counters, error) {
	c := &counters{path: filepath.Join(dir, countersName+holder), most: maxSlots}
	f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the counter file: %w", err)
	}
	c.file = f
	if err := c.begin(holder, log); err != nil {
		_ = f.Close()
		_ = os.Remove(c.path)
		return nil, fmt.Errorf("make the counter file %s: %w", c.path, err)
	}
	return c, nil
}

func (c *counters) begin(holder, log string) error {
	const size = headerBytes + maxSlots*slotBytes
	if err := preallocate(c.file, size); err != nil {
		return err
	}
	inode, err := inodeOf(c.file)
	if err != nil {
		return err
	}
	if c.data, err = mapFile(c.file, size); err != nil {
		return err
	}
	c.head = countersHead{Boot: bootID(), Holder: holder, Log: log, Inode: inode}
	copy(c.data, c.head.text())
	return nil
}

func (h countersHead) text() string {
	body := fmt.Sprintf("%s\n%s\n%s\n%s\n%d\n", countersMagic, h.Boot, h.Holder, h.Log, h.Inode)
	return fmt.Sprintf("%s%08x\n", body, crc32.ChecksumIEEE([]byte(body)))
}

// Where the tokens are in the first page, as length and text each.
const (
	tokenAt     = 2048
	maxTokenLen = 64
)

// setTokens keeps the tokens of the message that is about to be sent.
func (c *counters) setTokens(previous, token string) {
	for i, t := range [...]string{previous, token} {
		at := c.data[tokenAt+i*(maxTokenLen+1):]
		at[0] = byte(copy(at[1:maxTokenLen+1], t))
	}
}

func tokensIn(data []byte) (previous, token string) {
	read := func(i int) string {
		at := data[tokenAt+i*(maxTokenLen+1):]
		return string(at[1 : 1+min(int(at[0]), maxTokenLen)])
	}
	return read(0), read(1)
}

// slot returns a slot for a bucket.
func (c *counters) slot(b tiergate.Bucket) (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s *slot
	switch {
	case len(c.idle) > 0:
		s = c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
	case c.next == c.most:
		return nil, errManyLeases
	default:
		s = &slot{words: wordsAt(c.data, c.next), owner: c}
		c.next++
	}
	name0, name1 := nameOf(b)
	s.words[slotName1].Store(name1)
	s.words[slotName0].Store(name0)
	return s, nil
}

// crowded says that most slots are in use.
func (c *counters) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 4*(c.next-len(c.idle)) > 3*c.most
}

func wordsAt(data []byte, i int) *[slotBytes / 8]atomic.Int64 {
	return (*[slotBytes / 8]atomic.Int64)(unsafe.Pointer(&data[headerBytes+i*slotBytes])) // mapped pages are aligned
}

// close gives up the file; remove takes it away as well, once nobody needs it.
func (c *counters) close(remove bool) error {
	err := errors.Join(unmapFile(c.data), c.file.Close())
	if remove {
		err = errors.Join(err, os.Remove(c.path))
	}
	return err
}

// A formerHolder is what a counter file tells of a process that is gone.
type formerHolder struct {
	path            string
	head            countersHead
	previous, token string
	spent, uploaded map[[2]int64]int64 // by the name of the bucket
}

// readCounters reads the counter file of a former process. An error says why it cannot be
// trusted.
func readCounters(path string) (*formerHolder, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) != headerBytes+maxSlots*slotBytes {
		return nil, errors.New("it has another size")
	}
	h := &formerHolder{path: path, spent: map[[2]int64]int64{}, uploaded: map[[2]int64]int64{}}
	if err := h.head.read(data, path); err != nil {
		return nil, err
	}
	h.previous, h.token = tokensIn(data)
	for i := range maxSlots {
		w := wordsAt(data, i)
		if name := [2]int64{w[slotName0].Load(), w[slotName1].Load()}; name[0] != 0 {
			h.spent[name] = w[slotSpent].Load()
			h.uploaded[name] = w[slotUploaded].Load()
		}
	}
	return h, nil
}

// read reads and checks a head: that it is whole, of this start of the machine, and no copy.
func (h *countersHead) read(data []byte, path string) error {
	lines := strings.SplitN(string(data[:tokenAt]), "\n", 7)
	if len(lines) != 7 || lines[0] != countersMagic {
		return errors.New("it is not a counter file")
	}
	h.Boot, h.Holder, h.Log = lines[1], lines[2], lines[3]
	if _, err := fmt.Sscanf(lines[4], "%d", &h.Inode); err != nil || !strings.HasPrefix(string(data), h.text()) {
		return errors.New("its first page is damaged")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	inode, err := inodeOf(f)
	switch {
	case err != nil:
		return err
	case h.Boot == "" || h.Boot != bootID():
		return errors.New("the machine was started anew since it was written")
	case h.Inode != inode:
		return errors.New("it is a copy")
	}
	return nil
}
