//go:build unix && !linux

package spool

func (f diskFile) Allocate(size int64) error { return f.zero(size) }
