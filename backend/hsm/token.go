//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Token is one token of this process, shared by everyone who opened it.
type Token struct {
	device *device
	closed atomic.Bool
}

// Open returns the token, opening its library and logging in if nobody did yet.
// The PIN is compared with the one in use. Unavailable when the token cannot be
// reached; Denied for a wrong PIN (latched) or a module outside the allow-list;
// Conflict when several tokens have the label.
func Open(ctx context.Context, config Config) (*Token, error) {
	return open(ctx, config, byItself)
}

// Offer opens a token with a PIN that an operator has just written: a PIN that the
// token refused before is tried once more, and one that differs from the PIN in
// use is tried in its stead. When it is right it replaces the PIN in use; when it
// is wrong the PIN in use stays.
func Offer(ctx context.Context, config Config) (*Token, error) {
	return open(ctx, config, byOperator)
}

// open checks the config and joins or opens the token.
func open(ctx context.Context, config Config, how manner) (*Token, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	path, err := resolveModule(config.Module)
	if err != nil {
		return nil, err
	}
	if config.MaxSessions == 0 {
		config.MaxSessions = DefaultMaxSessions
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	l := libraryAt(path)
	if how == byOperator {
		l.forgive(config.PIN)
	}
	d, err := run(ctx, l, op{weight: wholeGate, timeout: 3 * config.Timeout}, func() (*device, error) {
		d, err := l.admit(config, how)
		if err == nil && ctx.Err() != nil {
			l.release(d) // nobody waits any more
			return nil, ctx.Err()
		}
		return d, err
	})
	if err != nil {
		nobody := &device{lib: l, identity: identity{config.TokenLabel, config.TokenSerial}}
		return nil, nobody.translate(err)
	}
	return &Token{device: d}, nil
}

// admit returns the device of a token with one more user. The caller holds the
// whole gate.
func (l *library) admit(config Config, how manner) (*device, error) {
	if err := l.clean(); err != nil {
		return nil, err
	}
	t := target{
		identity: identity{config.TokenLabel, config.TokenSerial},
		sessions: config.MaxSessions, timeout: config.Timeout, pin: config.PIN, how: how,
	}
	d, err := l.known(t)
	if classOf(err) == loss {
		l.markLost(err)
		err = l.clean()
	}
	if err != nil || d != nil {
		return d, err
	}
	c, err := l.tryConnect(t)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d = l.devices[identityOf(c.info)]; d == nil {
		d = &device{
			lib: l, identity: identityOf(c.info),
			sessions: config.MaxSessions, timeout: config.Timeout, now: config.Now,
		}
		l.devices[d.identity] = d
	}
	if d.conn != nil {
		l.dying = append(l.dying, d.conn)
	}
	d.users++
	d.conn, d.pin, d.paused = c, config.PIN, false
	return d, nil
}

// tryConnect connects for Open, which requests may repeat without end while a token
// is away: by itself it tries a token at most once in reopenPause.
func (l *library) tryConnect(t target) (*conn, error) {
	key := t.String()
	l.mu.Lock()
	last := l.absent[key]
	l.mu.Unlock()
	if last != nil && t.how == byItself {
		return nil, last
	}
	c, err := l.connect(t, t.how)
	if err != nil && t.how == byOperator {
		err = l.explain(t, err)
	}
	if err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Denied) {
		l.mu.Lock()
		l.absent[key] = err
		l.mu.Unlock()
		l.after(reopenPause, func() { delete(l.absent, key) })
	}
	return c, err
}

// known returns the device when the token is open and connected, nil when it is
// not. The caller holds the whole gate.
func (l *library) known(t target) (*device, error) {
	if len(l.conns) == 0 {
		return nil, nil
	}
	at, err := l.slotOf(t)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	d := l.devices[identityOf(at.info)]
	if d == nil || d.conn == nil {
		l.mu.Unlock()
		return nil, nil
	}
	same := samePIN(d.pin, t.pin)
	if same {
		d.users++
	}
	l.mu.Unlock()
	switch {
	case same:
		return d, nil
	case t.how == byItself:
		return nil, fault.FieldOf(fault.Denied, "pin", "differs from the one with which this process is logged in to token %s", d.name())
	}
	if err := l.replacePIN(d, t); err != nil {
		return nil, err
	}
	return d, nil
}

// replacePIN opens the token anew with the PIN that an operator offers and adds a
// user; when the token refuses it, the PIN in use stays. Logging out and in again
// would not do: SoftHSM knows a PIN that was changed by another process only after
// an initialisation. The caller holds the whole gate.
func (l *library) replacePIN(d *device, t target) error {
	l.closeAll()
	t.identity = d.identity
	t.sessions, t.timeout = d.sessions, d.timeout
	c, err := l.connect(t, byOperator)
	if err != nil {
		return err // the next use opens the token with the PIN in use
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d.conn, d.pin = c, t.pin
	d.users++
	return nil
}

// release takes back a user's share; the last one closes the connection.
func (l *library) release(d *device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.users--; d.users > 0 {
		return
	}
	delete(l.devices, d.identity)
	if d.conn != nil {
		l.dying = append(l.dying, d.conn)
		d.conn = nil
	}
	d.pin = ""
}

// Close releases the caller's share of the token. It does not wait: the connection
// of the last share is closed beside, or by the next Open. Signers of a token that
// nobody has open are Unavailable.
func (t *Token) Close() {
	if t.closed.Swap(true) {
		return
	}
	l := t.device.lib
	l.release(t.device)
	go func() {
		// Errors matter to nobody: what is not closed now is closed by the next use.
		_, _ = run(context.Background(), l, op{weight: wholeGate, timeout: DefaultTimeout}, func() (struct{}, error) {
			return struct{}{}, l.clean()
		})
	}()
}

// Serial returns the serial number of the token, which some makers do not make
// unique.
func (t *Token) Serial() string { return t.device.identity.serial }

// Status reports on the token without failing. It asks the token and tries to
// open it when it has been lost.
func (t *Token) Status(ctx context.Context) Status {
	d := t.device
	c, err := ask(ctx, d, direct, 1, func(c *conn) (*conn, error) {
		if _, err := d.lib.raw.GetTokenInfo(c.slot); err != nil {
			return nil, err
		}
		return c, c.answers()
	})
	status := Status{Label: d.identity.label, Serial: d.identity.serial, Reachable: err == nil}
	if c != nil {
		status.Manufacturer, status.Model = c.info.ManufacturerID, c.info.Model
		status.Firmware = fmt.Sprintf("%d.%d", c.info.FirmwareVersion.Major, c.info.FirmwareVersion.Minor)
		status.Mechanisms = mechanismsOf(c.mech)
	}
	d.lib.mu.Lock()
	defer d.lib.mu.Unlock()
	if d.lastErr != nil {
		status.LastError, status.LastErrorAt = d.lastErr.Error(), d.lastErrAt
		status.PINLatched = !status.Reachable && errors.Is(d.lastErr, ErrWrongPIN)
	}
	if err != nil && status.LastError == "" {
		status.LastError = err.Error()
	}
	return status
}
