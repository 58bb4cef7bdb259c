package syncer

import (
	"bufio"
	"context"
	"crypto/hmac"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// A state file is, in this order, numbers big-endian:
//
//	magic       8 bytes
//	version     4 bytes
//	header      4 bytes of length, then JSON
//	blocks      each 4 bytes of length, then records, each preceded by its length (uvarint)
//	end         4 zero bytes, then 8 bytes: how many records there were
//	signature   HMAC-SHA256 over everything before
//
// A reader holds the whole file against the signature before it looks at any of it, then
// decodes block by block, so that neither reading nor writing keeps more than a few blocks
// in memory, however large the state is.
const (
	stateMagic   = "TGLKG\r\n\x1a"
	stateVersion = 1
	blockSize    = 128 << 10
	maxHeader    = 64 << 10
	maxBlock     = 64 << 20
	macSize      = 32
	// maxState bounds a whole file, written or read. A million users with one membership
	// each take about 120 MB; a file that is larger by a factor of thirty is none of ours.
	maxState = 4 << 30
)

// A header says which state a file holds.
type header struct {
	Epoch   string    `json:"epoch"`
	Rev     int64     `json:"rev"`
	Hash    string    `json:"hash"`
	Schema  int       `json:"schema"`
	Seq     uint64    `json:"seq"` // see files.go
	AsOf    time.Time `json:"asOf,omitzero"`
	Created time.Time `json:"created"`
	KeyID   string    `json:"keyId"`
}

func (h header) resume() tiergate.Resume {
	return tiergate.Resume{Epoch: h.Epoch, Rev: h.Rev, Hash: h.Hash, Schema: h.Schema}
}

// writeState writes a whole state file to w.
func writeState(w io.Writer, k key, h header, changes iter.Seq2[tiergate.Change, error]) error {
	mac := k.mac("state")
	out := bufio.NewWriterSize(io.MultiWriter(w, mac), 64<<10)
	h.KeyID = k.id
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode the header: %w", err)
	}
	start := binary.BigEndian.AppendUint32([]byte(stateMagic), stateVersion)
	start = append(binary.BigEndian.AppendUint32(start, uint32(len(head))), head...)
	if _, err := out.Write(start); err != nil {
		return err
	}
	count, err := writeBlocks(out, changes)
	if err != nil {
		return err
	}
	if _, err := out.Write(binary.BigEndian.AppendUint64(make([]byte, 4), count)); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(mac.Sum(nil))
	return err
}

func writeBlocks(out io.Writer, changes iter.Seq2[tiergate.Change, error]) (count uint64, err error) {
	block := make([]byte, 4, blockSize+16<<10)
	var record []byte
	flush := func() error {
		if len(block) == 4 {
			return nil
		}
		binary.BigEndian.PutUint32(block, uint32(len(block)-4))
		_, err := out.Write(block)
		block = block[:4]
		return err
	}
	for c, err := range changes {
		if err != nil {
			return 0, fmt.Errorf("read the state in force: %w", err)
		}
		if record, err = appendRecord(record[:0], c.Put); err != nil {
			return 0, err
		}
		if len(record) > maxBlock/2 {
			return 0, fmt.Errorf("%s %q is larger than %d bytes", c.Kind, c.Key, maxBlock/2)
		}
		block = append(binary.AppendUvarint(block, uint64(len(record))), record...)
		count++
		if len(block) >= blockSize {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	return count, flush()
}

// A boundedWriter refuses to write more than is left.
type boundedWriter struct {
	io.Writer
	left int64
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("the state is too large to be kept on disk")
	}
	return b.Writer.Write(p)
}

// A stoppableReader ends with an error when its context has: a large file is read in many
// steps, and whoever wants to stop must not wait for the last.
type stoppableReader struct {
	ctx context.Context //nolint:containedctx // it lives for one read
	io.Reader
}

func (r stoppableReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// readHeader checks a file of size bytes as a whole, and returns its header and where its
// blocks begin. Nothing of a file is used before this has succeeded. It ends soon after ctx.
func readHeader(ctx context.Context, f io.ReaderAt, size int64, k key) (header, int64, error) {
	const fixed = len(stateMagic) + 8
	var h header
	start := make([]byte, fixed)
	if _, err := f.ReadAt(start, 0); err != nil || size < int64(fixed+12+macSize) {
		return h, 0, errors.New("it breaks off")
	}
	if string(start[:len(stateMagic)]) != stateMagic {
		return h, 0, errors.New("it is no last-known-good file")
	}
	if v := binary.BigEndian.Uint32(start[len(stateMagic):]); v != stateVersion {
		return h, 0, fmt.Errorf("its format version is %d, not %d", v, stateVersion)
	}
	n := int64(binary.BigEndian.Uint32(start[fixed-4:]))
	if n > maxHeader || n > size-int64(fixed+12+macSize) {
		return h, 0, errors.New("it breaks off in the header, or is damaged there")
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, int64(fixed)); err != nil {
		return h, 0, fmt.Errorf("read the header: %w", err)
	}
	signed := json.Unmarshal(head, &h)
	mac, want := k.mac("state"), make([]byte, macSize)
	if _, err := io.Copy(mac, stoppableReader{ctx, io.NewSectionReader(f, 0, size-macSize)}); err != nil {
		return header{}, 0, fmt.Errorf("read it: %w", err)
	}
	if _, err := f.ReadAt(want, size-macSize); err != nil {
		return header{}, 0, fmt.Errorf("read its signature: %w", err)
	}
	if !hmac.Equal(mac.Sum(nil), want) {
		if signed == nil && len(h.KeyID) == len(k.id) && h.KeyID != k.id {
			return header{}, 0, fmt.Errorf("it was signed with another key (%q, ours is %q)", h.KeyID, k.id)
		}
		return header{}, 0, errors.New("its signature does not fit: it is damaged, or was changed")
	}
	if signed != nil {
		return header{}, 0, fmt.Errorf("decode the header: %w", signed)
	}
	if h.Epoch == "" || h.Rev < 0 || h.Seq == 0 || h.Seq > math.MaxInt64 {
		return header{}, 0, errors.New("its header names no revision")
	}
	return h, int64(fixed) + n, nil
}

// A block is some records on their way from the file to who reads them.
type block struct {
	data   []byte
	things []any
	err    error
	done   chan struct{} // closed when things and err are set
}

// readThings yields the things of the blocks between start and size, in order, decoded by
// as many goroutines as there are processors. They end with the loop.
func readThings(f io.ReaderAt, start, size int64) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		workers := max(1, runtime.GOMAXPROCS(0))
		jobs, ordered := make(chan *block, 2*workers), make(chan *block, 2*workers)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(stop)
		for range workers {
			wg.Go(func() {
				d := newDecoder()
				for b := range jobs {
					b.things, b.err = d.things(b.data)
					b.data = nil
					close(b.done)
				}
			})
		}
		wg.Go(func() {
			defer close(jobs)
			defer close(ordered)
			readBlocks(f, start, size, func(b *block) bool {
				select {
				case ordered <- b:
				case <-stop:
					return false
				}
				if b.err != nil {
					return false
				}
				jobs <- b // never blocks for long: the workers go on until it is closed
				return true
			})
		})
		for b := range ordered {
			<-b.done
			for _, t := range b.things {
				if !yield(t, nil) {
					return
				}
			}
			if b.err != nil {
				yield(nil, b.err)
				return
			}
		}
	}
}

// readBlocks hands each block to emit until it says no, and one with an error last if the
// blocks are not as they must be.
func readBlocks(f io.ReaderAt, start, size int64, emit func(*block) bool) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, start, size-macSize-start), 256<<10)
	fail := func(err error) {
		b := &block{err: fmt.Errorf("read the records: %w", err), done: make(chan struct{})}
		close(b.done)
		emit(b)
	}
	var total uint64
	for n := make([]byte, 4); ; {
		if _, err := io.ReadFull(in, n); err != nil {
			fail(err)
			return
		}
		length := binary.BigEndian.Uint32(n)
		if length == 0 {
			break
		}
		if length > maxBlock || int64(length) > size {
			fail(fmt.Errorf("a block of %d bytes", length))
			return
		}
		b := &block{data: make([]byte, length), done: make(chan struct{})}
		if _, err := io.ReadFull(in, b.data); err != nil {
			fail(err)
			return
		}
		total += countRecords(b.data)
		if !emit(b) {
			return
		}
	}
	want := make([]byte, 8)
	if _, err := io.ReadFull(in, want); err != nil {
		fail(err)
		return
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) || binary.BigEndian.Uint64(want) != total {
		fail(errors.New("there are not as many records as the file says"))
	}
}

// countRecords counts without decoding; a damaged block is found when it is decoded.
func countRecords(data []byte) (count uint64) {
	for len(data) > 0 {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)-used) {
			return count
		}
		data = data[used+int(n):]
		count++
	}
	return count
}

// things decodes the records of a block.
func (d *decoder) things(data []byte) ([]any, error) {
	list := make([]any, 0, len(data)/64)
	for len(data) > 0 {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)-used) {
			return list, errRecord
		}
		t, err := d.thing(data[used : used+int(n)])
		if err != nil {
			return list, err
		}
		list = append(list, t)
		data = data[used+int(n):]
	}
	return list, nil
}
