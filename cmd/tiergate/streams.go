package main

import (
	"fmt"

	"github.com/tiergate/tiergate/server/ofrep"
	syncer "github.com/tiergate/tiergate/sync"
)

// streamOptions are about the streams of events that tell OFREP clients of changes.
type streamOptions struct {
	MaxStreams int    `help:"Most event streams at once, on each of the ports 8016, 8013 and 8015; 0 tells OFREP clients of none, and leaves gRPC its default." default:"10000"`
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

const streamKeyName = "stream.key"

// streamSecret reads the key in file, or else the data directory's own, which it makes when there
// is none: a sidecar that starts again accepts what it gave out before.
func streamSecret(file, dataDir string) (secret []byte, err error) {
	if file != "" {
		secret, err = syncer.ReadSecret(file)
	} else {
		secret, err = syncer.OwnSecret(dataDir, streamKeyName)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of event streams: %w", err)
	}
	return secret, nil
}
