package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tiergate/tiergate/server/ofrep"
)

// streamOptions are about the streams of events that tell OFREP clients of changes.
type streamOptions struct {
	MaxStreams int    `help:"Most event streams of OFREP clients at once; 0 tells clients of none." default:"10000"`
	StreamKey  string `help:"File with the key that signs the URLs of event streams, shared by sidecars behind one address, which then tell of each change twice; by default a random one in the data directory." placeholder:"FILE"`
}

func (o streamOptions) check() error {
	if o.MaxStreams < 0 {
		return fmt.Errorf("--max-streams is %d: a number of streams is not negative, and 0 is none", o.MaxStreams)
	}
	return nil
}

// openStreams makes the streams of the OFREP door, nil where there are to be none.
func openStreams(r *replica, o streamOptions, dataDir, auth string) (*ofrep.Streams, error) {
	if o.MaxStreams == 0 {
		return nil, nil
	}
	secret, err := streamSecret(o.StreamKey, dataDir)
	if err != nil {
		return nil, err
	}
	return ofrep.NewStreams(ofrep.StreamConfig{
		Watcher: r.engine, Secret: secret, Shared: o.StreamKey != "", Key: keyByID(auth, r), Most: o.MaxStreams,
	}), nil
}

const (
	streamKeyName = "stream.key"
	minStreamKey  = 32 // bytes
	maxStreamKey  = 4096
)

// streamSecret reads the key in file, or else the data directory's own, which it makes when there
// is none: a sidecar that starts again accepts what it gave out before.
func streamSecret(file, dataDir string) ([]byte, error) {
	if file != "" {
		return readSecret(file, 0, 0o022) // perhaps a symbolic link, as mounted secrets are
	}
	path := filepath.Join(dataDir, streamKeyName)
	secret, err := readSecret(path, syscall.O_NOFOLLOW, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return nil, fmt.Errorf("make the key of event streams: %w", err)
		}
		return readSecret(path, syscall.O_NOFOLLOW, 0o077)
	}
	return secret, err
}

// readSecret reads a key of event streams from a file that nobody may open as forbidden says.
func readSecret(path string, flag int, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flag, 0)
	if err != nil {
		return nil, fmt.Errorf("read the key of event streams: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key of event streams: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("the key of event streams %s must be a regular file without the permissions %#o, and has mode %s", path, forbidden, info.Mode())
	}
	secret, err := io.ReadAll(io.LimitReader(f, maxStreamKey+1))
	if err != nil {
		return nil, fmt.Errorf("read the key of event streams %s: %w", path, err)
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < minStreamKey || len(secret) > maxStreamKey {
		return nil, fmt.Errorf("the key of event streams %s must hold %d to %d bytes, and holds %d", path, minStreamKey, maxStreamKey, len(secret))
	}
	return secret, nil
}

// makeSecret makes a random key that is whole when it is there.
func makeSecret(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	aside, err := os.CreateTemp(dir, streamKeyName+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name()) // which it is not called any more when all went well
	defer aside.Close()
	material := make([]byte, minStreamKey)
	_, _ = rand.Read(material) // never fails: crypto/rand ends the program instead
	if _, err := aside.WriteString(hex.EncodeToString(material) + "\n"); err != nil {
		return err
	}
	if err := aside.Sync(); err != nil {
		return err
	}
	if err := os.Rename(aside.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
