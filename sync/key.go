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
	"syscall"
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

// readKeyFile reads the key that an operator gave.
func readKeyFile(path string) (key, error) {
	material, err := ReadSecret(path)
	if err != nil {
		return key{}, fmt.Errorf("read the key of the last-known-good state: %w", err)
	}
	return newKey(material), nil
}

// ownKey reads the random key of a data directory, and makes one when there is none.
func ownKey(dir string) (key, error) {
	material, err := OwnSecret(dir, keyName)
	if err != nil {
		return key{}, err
	}
	return newKey(material), nil
}

// ReadSecret reads a secret of 32 to 4,096 bytes from a file that an operator gave, who may use a
// symbolic link for it, as mounted secrets are.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("the key file %s must be a regular file that only its owner can write, and has mode %s", path, info.Mode())
	}
	return secretFrom(f, path)
}

func secretFrom(f io.Reader, path string) ([]byte, error) {
	material, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("read the key file %s: %w", path, err)
	}
	material = bytes.TrimRight(material, "\r\n")
	if len(material) < minKey || len(material) > maxKey {
		return nil, fmt.Errorf("the key file %s must hold %d to %d bytes, and holds %d", path, minKey, maxKey, len(material))
	}
	return material, nil
}

// OwnSecret reads the random secret of that name in a data directory, and makes one when there is
// none: it is the same for each process that uses the directory, and nobody else can read it.
func OwnSecret(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	secret, err := readOwnSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := makeSecret(dir, path); err != nil {
		return nil, fmt.Errorf("make a key in %s: %w", dir, err)
	}
	return readOwnSecret(path)
}

func readOwnSecret(path string) ([]byte, error) {
	f, _, err := openOwn(path, 0o077)
	if err != nil {
		return nil, fmt.Errorf("the key file %s is not used: %w", path, err)
	}
	defer f.Close()
	return secretFrom(f, path)
}

func makeSecret(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	material := make([]byte, minKey)
	_, _ = rand.Read(material) // never fails: crypto/rand ends the program instead
	text := hex.EncodeToString(material) + "\n"
	return replaceFile(path, func(w io.Writer) error { _, err := io.WriteString(w, text); return err }, noStep)
}
