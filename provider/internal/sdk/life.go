package sdk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
)

const (
	// DefaultInitTimeout bounds an initialization whose context has no deadline.
	DefaultInitTimeout = 10 * time.Second
	// DefaultShutdownTimeout bounds a shutdown whose context has none.
	DefaultShutdownTimeout = 5 * time.Second

	// silence is how long no event is told after an initialization ended. The SDK makes an event
	// of its result by itself and takes ours through a channel: told at once, ours could come
	// first and be undone.
	silence = 250 * time.Millisecond
)

// A Life is what a provider does between Init and Shutdown: the SDK's StateHandler,
// ContextAwareStateHandler and EventHandler. Its work goes on whatever became of the
// initialization: a provider whose Init ran out of time is ready later. It can be begun again
// after its end, and while it ends: then the work begins anew as soon as it has ended. Safe for
// concurrent use.
type Life struct {
	name     string
	work     func(ctx context.Context, w *Work)
	patience time.Duration
	teller   *teller

	mu      sync.Mutex
	now     *span // nil before the first Init
	state   openfeature.State
	trouble error // the last reason why the work is not ready
}

// A span is one beginning and end.
type span struct {
	cancel  context.CancelFunc
	closing context.Context    // set before cancel: how long the end may take
	release context.CancelFunc // of closing
	ready   chan struct{}      // closed when the first state is in force
	broken  chan struct{}      // closed when nothing will ever be
	done    chan struct{}
}

// NewLife makes a Life. Its work runs until the context ends, and has ended all that it started
// when it returns; patience bounds an initialization whose context has no deadline, 0 is
// DefaultInitTimeout.
func NewLife(name string, patience time.Duration, work func(ctx context.Context, w *Work)) *Life {
	if patience <= 0 {
		patience = DefaultInitTimeout
	}
	return &Life{name: name, work: work, patience: patience, teller: newTeller(name), state: openfeature.NotReadyState}
}

// Metadata names the provider.
func (l *Life) Metadata() openfeature.Metadata { return openfeature.Metadata{Name: l.name} }

// Hooks are none.
func (l *Life) Hooks() []openfeature.Hook { return nil }

// EventChannel is where events are told. It is never closed.
func (l *Life) EventChannel() <-chan openfeature.Event { return l.teller.events }

// Init is InitWithContext without a context.
func (l *Life) Init(c openfeature.EvaluationContext) error {
	return l.InitWithContext(context.Background(), c)
}

// InitWithContext begins the work, if it has not begun, and waits until something is in force.
// After an error the work goes on: an event tells when it is ready after all.
func (l *Life) InitWithContext(ctx context.Context, _ openfeature.EvaluationContext) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.patience)
		defer cancel()
	}
	s := l.begin()
	select {
	case <-s.ready:
	case <-s.broken:
	case <-s.done:
	case <-ctx.Done():
	}
	return l.begun(ctx, s)
}

// begin returns the span that goes on, else a new one. One that is about to end is not joined: it
// ends, whoever relies on it.
func (l *Life) begin() *span {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.now
	if before != nil && before.closing == nil && !isClosed(before.done) {
		return before
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &span{cancel: cancel, ready: make(chan struct{}), broken: make(chan struct{}), done: make(chan struct{})}
	l.now, l.state, l.trouble = s, openfeature.NotReadyState, nil
	l.teller.forget()
	go func() {
		defer l.end(s)
		if before != nil {
			<-before.done
		}
		l.live(ctx, s)
	}()
	return s
}

// live works until ctx ends, which may have been before the span's turn came.
func (l *Life) live(ctx context.Context, s *span) {
	if ctx.Err() != nil {
		return
	}
	var telling sync.WaitGroup
	telling.Go(func() { l.teller.run(ctx) })
	defer telling.Wait()
	defer s.cancel()
	l.work(ctx, &Work{life: l, span: s})
}

func (l *Life) end(s *span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.release != nil {
		s.release()
	}
	close(s.done)
}

// begun is the result of an initialization. From here on states are told as events.
func (l *Life) begun(ctx context.Context, s *span) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.teller.hold(silence)
	if s != l.now {
		return fmt.Errorf("start %s: it was shut down", l.name)
	}
	if isClosed(s.ready) {
		l.repeat()
		return nil
	}
	if l.state == openfeature.NotReadyState {
		l.state = openfeature.ErrorState // which the SDK tells by itself
	}
	cause := ctx.Err()
	switch {
	case isClosed(s.broken):
		return &fatalError{fmt.Errorf("start %s: %w", l.name, l.trouble)}
	case cause == nil:
		return fmt.Errorf("start %s: it was shut down", l.name)
	case l.trouble != nil:
		return fmt.Errorf("wait for the first state of %s: %w: %w", l.name, cause, l.trouble)
	}
	return fmt.Errorf("wait for the first state of %s: %w", l.name, cause)
}

// A fatalError is one that the SDK takes for FATAL: it evaluates nothing any more.
type fatalError struct{ cause error }

// Error is the cause's.
func (e *fatalError) Error() string { return e.cause.Error() }

// Unwrap returns what the SDK knows it by, and the cause.
func (e *fatalError) Unwrap() []error {
	return []error{&openfeature.ProviderInitError{ErrorCode: openfeature.ProviderFatalCode, Message: e.cause.Error()}, e.cause}
}

// repeat tells a state that the SDK takes for READY, because an initialization has succeeded.
func (l *Life) repeat() {
	switch l.state {
	case openfeature.StaleState:
		l.teller.tellState(openfeature.ProviderStale, l.trouble.Error(), "")
	case openfeature.ErrorState:
		l.tellError()
	}
}

// tellError tells an error, and whether it is for good.
func (l *Life) tellError() {
	code := openfeature.GeneralCode
	if isClosed(l.now.broken) {
		code = openfeature.ProviderFatalCode
	}
	l.teller.tellState(openfeature.ProviderError, l.trouble.Error(), code)
}

// Shutdown is ShutdownWithContext without a context.
func (l *Life) Shutdown() { _ = l.ShutdownWithContext(context.Background()) }

// ShutdownWithContext ends the work and waits for its end, until ctx ends. The work's end has until
// the deadline of ctx, also when ctx is cancelled before: the SDK ends a provider with the context
// of the call that replaces it, which is over as soon as the next one is ready. To end what has
// not begun or has ended is no error.
func (l *Life) ShutdownWithContext(ctx context.Context) error {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(DefaultShutdownTimeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	s := l.close(context.WithoutCancel(ctx), deadline)
	if s == nil {
		return nil
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end %s: %w", l.name, ctx.Err())
	}
}

// close tells the span that goes on to end, and returns it; nil if there is none.
func (l *Life) close(ctx context.Context, deadline time.Time) *span {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.now
	if s == nil || isClosed(s.done) {
		return nil
	}
	if s.closing == nil {
		s.closing, s.release = context.WithDeadline(ctx, deadline)
	}
	s.cancel()
	return s
}
