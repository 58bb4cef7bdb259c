package sdk

import (
	"context"

	"github.com/open-feature/go-sdk/openfeature"
)

// A Work is how the work of a Life says what has become of it. What it says at its end, when the
// work is about to begin anew, is not told. Safe for concurrent use.
type Work struct {
	life *Life
	span *span
}

// Closing is how long the end may take, for what is to be done once the work's own context has
// ended. It has a deadline.
func (w *Work) Closing() context.Context {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	return w.span.closing
}

// tell does something with the life, if it is still this work's.
func (w *Work) tell(do func(l *Life)) {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	if w.life.now == w.span {
		do(w.life)
	}
}

// Ready says that answers are as they should be.
func (w *Work) Ready(message string) {
	w.tell(func(l *Life) {
		if !isClosed(l.now.ready) {
			close(l.now.ready)
		}
		was := l.state
		l.state, l.trouble = openfeature.ReadyState, nil
		if was == openfeature.StaleState || was == openfeature.ErrorState {
			l.teller.tellState(openfeature.ProviderReady, message, "")
		}
	})
}

// Stale says that answers may be old. Before there are any it is Trouble, and so it is after Lost.
func (w *Work) Stale(why error) {
	w.tell(func(l *Life) {
		l.trouble = why
		if l.state == openfeature.ReadyState {
			l.state = openfeature.StaleState
			l.teller.tellState(openfeature.ProviderStale, why.Error(), "")
		}
	})
}

// Lost says that answers are not to be relied on any more, if there are any. Before there were any
// it is Trouble.
func (w *Work) Lost(why error) {
	w.tell(func(l *Life) {
		l.trouble = why
		if l.state == openfeature.ReadyState || l.state == openfeature.StaleState {
			l.state = openfeature.ErrorState
			l.tellError()
		}
	})
}

// Broken says that what was asked for can never work: an initialization waits no longer, and the
// SDK takes the provider for FATAL.
func (w *Work) Broken(why error) {
	w.tell(func(l *Life) {
		if isClosed(l.now.broken) {
			return
		}
		close(l.now.broken)
		l.trouble = why
		if l.state != openfeature.NotReadyState { // else the initialization tells it
			l.state = openfeature.ErrorState
			l.tellError()
		}
	})
}

// Trouble remembers why nothing is in force yet, for the error of an initialization.
func (w *Work) Trouble(why error) { w.tell(func(l *Life) { l.trouble = why }) }

// Changed says what may be answered otherwise. Before anything is in force nothing is told.
func (w *Work) Changed(c Change) {
	w.tell(func(l *Life) {
		if isClosed(l.now.ready) {
			l.teller.tellChange(c)
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
