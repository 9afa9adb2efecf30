//go:build cgo

package hsm

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// device is an open token, shared by all who opened it. It outlives its
// connections. Fields below the blank line are guarded by lib.mu.
type device struct {
	lib      *library
	identity identity
	sessions int
	timeout  time.Duration

	users     int // shares given out by Open; 0: closed for good
	pin       string
	conn      *conn // nil: opened by the next use
	paused    bool  // an attempt to connect failed less than reopenPause ago
	lastErr   error
	lastErrAt time.Time
	now       func() time.Time
}

// name identifies the token in messages.
func (d *device) name() string { return d.identity.String() }

// mode says how a call shares the token.
type mode uint8

// The modes. A call that runs alone is not repeated after a loss, because it may
// have done its work.
const (
	pooled mode = iota // beside others, with a session of crypto11
	direct             // beside others, with a session of ours
	alone              // generating and deleting
)

// op returns how a call of this mode runs on a connection; it may take so many
// times the timeout of the token.
func (d *device) op(m mode, c *conn, times int) op {
	timeout := d.timeout * time.Duration(times)
	switch m {
	case pooled:
		return op{weight: 1, place: c.pooled, timeout: timeout}
	case direct:
		return op{weight: 1, place: c.direct, timeout: timeout}
	}
	return op{weight: wholeGate, timeout: timeout}
}

// ask makes a call with a live connection, opening the token first when it has been
// lost, and once more when the loss shows during the call. Its error is a fault.
func ask[T any](ctx context.Context, d *device, m mode, times int, call func(*conn) (T, error)) (T, error) {
	var zero T
	for attempt := 1; ; attempt++ {
		c, err := d.connection(ctx)
		if err != nil {
			return zero, d.note(err)
		}
		value, err := run(ctx, d.lib, d.op(m, c, times), func() (T, error) {
			if !d.holds(c) {
				return zero, errReplaced
			}
			return call(c)
		})
		if err == nil {
			return value, nil
		}
		lost := d.judge(ctx, c, err)
		again := errors.Is(err, errReplaced) || lost && m != alone
		if !again || attempt == 3 {
			return zero, d.note(err)
		}
	}
}

// judge reports whether the connection is lost, given the error of a call, and
// marks the loss. Some modules tell with one value that the token is gone and that
// one key is of no use. So such a value is a loss when the token does not answer
// either; when it does, the library is opened again once in doubtPause, in case its
// memory or the token's is full, but no key that fails takes all tokens along.
func (d *device) judge(ctx context.Context, c *conn, err error) bool {
	switch classOf(err) {
	case loss:
	case suspect:
		_, silent := run(ctx, d.lib, d.op(direct, c, 1), func() (struct{}, error) {
			if !d.holds(c) {
				return struct{}{}, errReplaced
			}
			return struct{}{}, c.answers()
		})
		if silent == nil && !d.lib.mayDoubt() {
			return false
		}
	default:
		return false
	}
	d.lib.lose(c, err)
	return true
}

// note makes a fault of the error and remembers it when the token was at fault.
func (d *device) note(err error) error {
	err = d.translate(err)
	if !fault.Is(err, fault.Unavailable) && !errors.Is(err, ErrWrongPIN) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	d.lib.mu.Lock()
	defer d.lib.mu.Unlock()
	if d.lastErr != nil && errors.Is(err, d.lastErr) {
		return err // says only that the last error still holds
	}
	d.lastErr, d.lastErrAt = err, time.Time{}
	if d.now != nil {
		d.lastErrAt = d.now()
	}
	return err
}

// holds reports whether c is the token's connection and not known to be lost.
func (d *device) holds(c *conn) bool {
	d.lib.mu.Lock()
	defer d.lib.mu.Unlock()
	return d.conn == c && !d.lib.lost
}

// ready returns the live connection, nil when the token must be opened, and an
// error when it may not be opened now.
func (d *device) ready() (*conn, error) {
	l := d.lib
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case d.users == 0:
		return nil, fault.New(fault.Unavailable, "token %s was closed", d.name())
	case l.overdue > 0:
		return nil, l.stuckErr
	case d.conn != nil && !l.lost:
		return d.conn, nil
	case l.lost && l.reopened:
		return nil, fault.New(fault.Unavailable, "library %s was lost and is opened again at most every %s: %w", l.path, reopenPause, l.lossErr)
	case !l.lost && d.paused:
		return nil, fault.New(fault.Unavailable, "token %s cannot be reached and is tried at most every %s: %w", d.name(), reopenPause, d.lastErr)
	}
	return nil, nil
}

// connection returns a live connection, opening the token again when needed.
func (d *device) connection(ctx context.Context) (*conn, error) {
	if c, err := d.ready(); c != nil || err != nil {
		return c, err
	}
	return run(ctx, d.lib, op{weight: wholeGate, timeout: 3 * d.timeout}, d.reconnect)
}

// reconnect opens the token again. The caller holds the whole gate. Whoever queued
// behind it finds the work done, or refused for the length of the pause.
func (d *device) reconnect() (*conn, error) {
	l := d.lib
	if c, err := d.ready(); c != nil || err != nil {
		return c, err
	}
	if err := l.clean(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	t := target{identity: d.identity, sessions: d.sessions, timeout: d.timeout, pin: d.pin, how: byItself}
	l.mu.Unlock()
	c, err := l.connect(t, byItself)
	if err != nil {
		err = d.note(err)
		l.mu.Lock()
		d.paused = true
		l.mu.Unlock()
		l.after(reopenPause, func() { d.paused = false })
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.users == 0 { // closed meanwhile
		l.dying = append(l.dying, c)
		return nil, fault.New(fault.Unavailable, "token %s was closed", d.name())
	}
	d.conn = c
	return c, nil
}
