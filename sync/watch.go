package syncer

import (
	"log/slog"
	"os"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A watch says that something in a folder may have changed. It is a hint: what changed is
// found by looking.
type watch struct {
	changed chan struct{} // holds one signal
	dir     os.FileInfo   // the folder that is watched; nil when none is
	close   func()        // may be called again
}

func (w *watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// current reports whether the folder at path is the one that is watched.
func (w *watch) current(path string) bool {
	info, err := os.Stat(path)
	return err == nil && w.dir != nil && os.SameFile(info, w.dir)
}

// watchDir watches a folder. Where that is not possible (no such folder, or too many
// watches on this machine) the result never signals, and scans have to do.
func watchDir(path string, log *slog.Logger) *watch {
	w := &watch{changed: make(chan struct{}, 1), close: func() {}}
	info, err := os.Stat(path)
	if err != nil {
		return w // the scan says it better
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("folder not watched, only read from time to time", "dir", path, "error", err)
		return w
	}
	if err := notify.Add(path); err != nil {
		_ = notify.Close()
		log.Warn("folder not watched, only read from time to time", "dir", path, "error", err)
		return w
	}
	w.dir = info
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		for {
			select {
			case _, ok := <-notify.Events:
				if !ok {
					return
				}
			case _, ok := <-notify.Errors: // such as an overflow: events were lost
				if !ok {
					return
				}
			}
			w.signal()
		}
	})
	w.close = sync.OnceFunc(func() {
		_ = notify.Close()
		forwarding.Wait()
	})
	return w
}
