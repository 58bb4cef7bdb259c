package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The small files: lines of text, of which the first says what it is and the last is a
// checksum of the others.
const (
	identityName  = "identity"
	identityTitle = "tiergate usage log 1"
	cursorName    = "cursor"
	cursorTitle   = "tiergate usage cursor 1"
	asideSuffix   = ".new"
	maxPaper      = 4096
)

var errPaper = errors.New("it is damaged")

func paper(lines ...string) []byte {
	body := strings.Join(lines, "\n") + "\n"
	return fmt.Appendf(nil, "%s%08x\n", body, crc32.Checksum([]byte(body), castagnoli))
}

// readPaper returns the lines between the title and the checksum.
func readPaper(fs FS, name, title string, lines int) ([]string, uint64, error) {
	data, inode, err := readAll(fs, name, maxPaper, nil)
	if err != nil {
		return nil, 0, err
	}
	all := strings.Split(string(data), "\n")
	if len(all) != lines+3 || all[0] != title || string(paper(all[:lines+1]...)) != string(data) {
		return nil, 0, errPaper
	}
	return all[1 : lines+1], inode, nil
}

// An identity says which log a folder holds.
type identity struct {
	log    [16]byte
	copied bool // the file is not the one that was written
}

func readIdentity(fs FS, dir string) (identity, error) {
	lines, inode, err := readPaper(fs, filepath.Join(dir, identityName), identityTitle, 2)
	if err != nil {
		return identity{}, err
	}
	log, err := parseUUID(lines[0])
	if err != nil {
		return identity{}, errPaper
	}
	return identity{log: log, copied: lines[1] != strconv.FormatUint(inode, 10)}, nil
}

func writeIdentity(fs FS, dir string, log [16]byte) error {
	return replace(fs, filepath.Join(dir, identityName), func(inode uint64) []byte {
		return paper(identityTitle, formatUUID(log), strconv.FormatUint(inode, 10))
	})
}

// A mark is a place in the log.
type mark struct {
	number int64
	hash   digest
	lost   bool // the records before do not read, and nothing tells their true hash
}

// A position is what the cursor's file says: what the ledger has, and up to where the log was
// durable by then. What is missing before that is damage, and its numbers are not used again.
type position struct {
	cursor mark
	end    int64
}

// readPosition returns the position of a log. That of another log, or none, is the beginning.
func readPosition(fs FS, dir string, log [16]byte) (p position, err error) {
	lines, _, err := readPaper(fs, filepath.Join(dir, cursorName), cursorTitle, 4)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return position{}, nil
	case err != nil:
		return position{}, err
	case lines[0] != formatUUID(log):
		return position{}, nil
	}
	p.cursor.number, err = strconv.ParseInt(lines[1], 10, 64)
	if err == nil {
		p.cursor.hash, err = digestFrom(lines[2])
	}
	if err == nil {
		p.end, err = strconv.ParseInt(lines[3], 10, 64)
	}
	if err != nil || p.cursor.number < 0 || p.end < p.cursor.number {
		return position{}, errPaper
	}
	return p, nil
}

func writePosition(fs FS, dir string, log [16]byte, p position) error {
	return replace(fs, filepath.Join(dir, cursorName), func(uint64) []byte {
		number, end := strconv.FormatInt(p.cursor.number, 10), strconv.FormatInt(p.end, 10)
		return paper(cursorTitle, formatUUID(log), number, p.cursor.hash.text(), end)
	})
}

func newUUID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func formatUUID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func parseUUID(text string) (id [16]byte, err error) {
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 2*len(id) {
		return id, errPaper
	}
	_, err = hex.Decode(id[:], []byte(digits))
	return id, err
}
