package provider

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// The three messages of flagd.sync.v1 that a client needs, written and read here and not by
// generated code: that registers the names of messages for the whole process, and a program that
// has flagd's own provider too would not start.
const (
	methodSync     = "/flagd.sync.v1.FlagSyncService/SyncFlags"
	methodMetadata = "/flagd.sync.v1.FlagSyncService/GetMetadata"

	fieldProviderID protowire.Number = 1 // of a SyncFlagsRequest
	fieldDocument   protowire.Number = 1 // of a SyncFlagsResponse: flag_configuration
)

type (
	syncRequest struct{ providerID string }
	// A syncResponse's document is in memory of its own.
	syncResponse struct{ document []byte }
	// A nothing is a message of which nothing is said and nothing read.
	nothing struct{}
)

// A codec writes and reads them.
type codec struct{}

// Name is that of protobuf: it is the same on the wire.
func (codec) Name() string { return "proto" }

// Marshal writes a message.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *syncRequest:
		b := protowire.AppendTag(nil, fieldProviderID, protowire.BytesType)
		return mem.BufferSlice{mem.SliceBuffer(protowire.AppendString(b, m.providerID))}, nil
	case *nothing:
		return nil, nil
	}
	return nil, fmt.Errorf("bug: %T is none of our messages", v)
}

// Unmarshal reads a message.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *syncResponse:
		return m.read(data.Materialize())
	case *nothing:
		return nil
	}
	return fmt.Errorf("bug: %T is none of our messages", v)
}

// read takes the fields that we know; of one that comes twice the last counts.
func (m *syncResponse) read(b []byte) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("read a message: %w", protowire.ParseError(n))
		}
		if number > protowire.MaxValidNumber {
			return errors.New("read a message: a field has no valid number")
		}
		b = b[n:]
		if number == fieldDocument && kind == protowire.BytesType {
			document, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return fmt.Errorf("read a message: %w", protowire.ParseError(n))
			}
			m.document, b = document, b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return fmt.Errorf("read a message: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	if m.document == nil {
		return errors.New("read a message: it holds no flags")
	}
	return nil
}
