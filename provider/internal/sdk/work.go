package sdk

import (
	"context"

	"github.com/open-feature/go-sdk/openfeature"
)

// A Work is how the work of a Life says what has become of it. Safe for concurrent use.
type Work struct{ life *Life }

// Closing is the context of the shutdown, for what is to be done once the work's own has ended.
// It has a deadline.
func (w *Work) Closing() context.Context {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	return w.life.now.closing
}

// Ready says that answers are as they should be.
func (w *Work) Ready(message string) {
	l := w.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.now.ready) {
		close(l.now.ready)
	}
	was := l.state
	l.state, l.trouble = openfeature.ReadyState, nil
	if was == openfeature.StaleState || was == openfeature.ErrorState {
		l.teller.tellState(openfeature.ProviderReady, message, "")
	}
}

// Stale says that answers may be old. Before there are any it is Trouble, and so it is after Lost.
func (w *Work) Stale(why error) {
	l := w.life
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = why
	if l.state == openfeature.ReadyState {
		l.state = openfeature.StaleState
		l.teller.tellState(openfeature.ProviderStale, why.Error(), "")
	}
}

// Lost says that there are no answers worth having any more. Before there were any it is Trouble.
func (w *Work) Lost(why error) {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	w.life.lost(why)
}

// Broken is Lost, for good: an initialization waits no longer.
func (w *Work) Broken(why error) {
	l := w.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.now.broken) {
		close(l.now.broken)
	}
	l.lost(why)
}

func (l *Life) lost(why error) {
	l.trouble = why
	if l.state == openfeature.ReadyState || l.state == openfeature.StaleState {
		l.state = openfeature.ErrorState
		l.teller.tellState(openfeature.ProviderError, why.Error(), openfeature.GeneralCode)
	}
}

// Trouble remembers why nothing is in force yet, for the error of an initialization.
func (w *Work) Trouble(why error) {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	w.life.trouble = why
}

// Changed says what may be answered otherwise. Before anything is in force nothing is told.
func (w *Work) Changed(c Change) {
	w.life.mu.Lock()
	defer w.life.mu.Unlock()
	if isClosed(w.life.now.ready) {
		w.life.teller.tellChange(c)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
