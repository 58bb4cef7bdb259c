package syncer

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Bounds of a key file, in bytes.
const (
	minKey = 32
	maxKey = 4096
)

// A key authenticates what we keep on disk.
type key struct {
	secret []byte
	id     string // names the key and tells nothing about it
}

func newKey(material []byte) key {
	derive := func(label string) []byte {
		h := hmac.New(sha256.New, material)
		h.Write([]byte("tiergate last-known-good " + label))
		return h.Sum(nil)
	}
	return key{secret: derive("key"), id: hex.EncodeToString(derive("id")[:8])}
}

// mac starts a signature; one made for a purpose never fits another.
func (k key) mac(purpose string) hash.Hash {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte(purpose + "\x00"))
	return h
}

func (k key) sign(purpose string, data []byte) []byte {
	h := k.mac(purpose)
	h.Write(data)
	return h.Sum(nil)
}

// readKeyFile reads a key that an operator gave, who may use a symbolic link for it, as
// mounted secrets are.
func readKeyFile(path string) (key, error) {
	f, err := os.Open(path)
	if err != nil {
		return key{}, fmt.Errorf("read the key of the last-known-good state: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return key{}, fmt.Errorf("read the key of the last-known-good state: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return key{}, fmt.Errorf("the key file %s must be a regular file that only its owner can write, and has mode %s", path, info.Mode())
	}
	return keyFrom(f, path)
}

func keyFrom(f io.Reader, path string) (key, error) {
	material, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return key{}, fmt.Errorf("read the key file %s: %w", path, err)
	}
	material = bytes.TrimRight(material, "\r\n")
	if len(material) < minKey || len(material) > maxKey {
		return key{}, fmt.Errorf("the key file %s must hold %d to %d bytes, and holds %d", path, minKey, maxKey, len(material))
	}
	return newKey(material), nil
}

// ownKey reads the random key of a data directory, and makes one when there is none.
func ownKey(dir string) (key, error) {
	path := filepath.Join(dir, keyName)
	f, _, err := openOwn(path, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(dir, path)
	}
	if err != nil {
		return key{}, fmt.Errorf("the key file %s is not used: %w", path, err)
	}
	defer f.Close()
	return keyFrom(f, path)
}

func makeKey(dir, path string) (key, error) {
	material := make([]byte, 32)
	_, _ = rand.Read(material) // never fails: crypto/rand ends the program instead
	text := []byte(hex.EncodeToString(material) + "\n")
	if err := replaceFile(path, func(w io.Writer) error { _, err := w.Write(text); return err }, noStep); err != nil {
		return key{}, fmt.Errorf("make a key in %s: %w", dir, err)
	}
	return newKey(bytes.TrimRight(text, "\n")), nil
}
