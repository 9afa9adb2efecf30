//go:build cgo

package hsm

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// target is a token to connect to, and how.
type target struct {
	label, serial string // one of them
	sessions      int
	timeout       time.Duration
	pin           string
	how           manner
}

// String names the token for a message.
func (t target) String() string {
	if t.serial != "" {
		return "token_serial " + t.serial
	}
	return fmt.Sprintf("token_label %q", t.label)
}

// errAbsent says that the library shows no such token.
var errAbsent = errors.New("the library shows no such token")

// connect opens a connection to the target and logs in. The caller holds the whole
// gate and has cleaned. When the library runs already, its list of tokens may be
// older than the token: rescan allows to close everything and look again.
//
// Processes that start together on one SoftHSM directory disturb each other in
// every step, so while nothing else uses the library, what failed for no reason of
// ours is tried again from the beginning a little later.
func (l *library) connect(t target, rescan manner) (*conn, error) {
	if l.raw == nil {
		if l.raw = pkcs11.New(l.path); l.raw == nil {
			return nil, fault.FieldOf(fault.Unavailable, "module", "%s cannot be loaded as a PKCS#11 library", l.path)
		}
	}
	for pause := firstPause; ; pause *= 2 {
		c, err := l.connectOnce(t, rescan)
		if err == nil || len(l.conns) > 0 || pause > lastPause || !mayPass(err) {
			return c, err
		}
		// Spread by the process, lest they meet again.
		<-time.After(pause + pause*time.Duration(os.Getpid()%16)/16)
	}
}

// The first and the last pause of connect: six attempts within about a second.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 320 * time.Millisecond
)

// mayPass reports whether opening may succeed a little later: not when the config
// or the PIN is refused.
func mayPass(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Unavailable || kind == fault.Internal
}

// connectOnce is one attempt of connect.
func (l *library) connectOnce(t target, rescan manner) (*conn, error) {
	first, err := l.dial(t)
	if err != nil && len(l.conns) > 0 && l.mayRescan(rescan) {
		l.closeAll()
		first, err = l.dial(t)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "opening %s with %s: %w", t, l.path, err)
	}
	defer func() { _ = first.Close() }() // counted: the library stays initialised for the second
	c, err := l.attach(t)
	if err != nil {
		return nil, err
	}
	l.conns[c] = struct{}{}
	if c.ctx, err = l.dialLoggedIn(c, t); err != nil {
		l.close(c)
		if classOf(err) == pin {
			return nil, l.refuse(c.info.SerialNumber, t.pin, err)
		}
		return nil, fault.New(fault.Unavailable, "opening %s with %s: %w", t, l.path, err)
	}
	return c, nil
}

// mayRescan reports whether the library may be initialised again for one token.
func (l *library) mayRescan(how manner) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if how == byItself && l.rescanned {
		return false
	}
	l.rescanned = true
	l.after(rescanPause, func() { l.rescanned = false })
	return true
}

// dial opens a crypto11 context, which initialises the library when it is the
// first. It does not log in: crypto11 cannot tell a wrong PIN from a right one
// when somebody is logged in, nor which of two tokens with one label is meant.
func (l *library) dial(t target) (*crypto11.Context, error) {
	return crypto11.Configure(&crypto11.Config{
		Path: l.path, TokenLabel: t.label, TokenSerial: t.serial, LoginNotSupported: true,
	})
}

// dialLoggedIn opens the crypto11 context that works, with a PIN that the token has
// just accepted. Where a process is one application to the library, crypto11 finds
// it logged in. Remoting modules take every binding for an application of its own;
// there this is a second login.
func (l *library) dialLoggedIn(c *conn, t target) (*crypto11.Context, error) {
	return crypto11.Configure(&crypto11.Config{
		Path: l.path, TokenSerial: c.info.SerialNumber, Pin: t.pin,
		MaxSessions: pooledSessions(t.sessions) + 1, PoolWaitTimeout: t.timeout,
		LoginNotSupported: c.info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0,
	})
}

// directSessions and pooledSessions divide the sessions of a token: one keeps the
// login, one belongs to crypto11 itself, a quarter serves raw calls.
func directSessions(all int) int { return max(1, all/4) }
func pooledSessions(all int) int { return all - directSessions(all) - 2 }

// attach finds the one token that is meant, opens sessions and logs in.
func (l *library) attach(t target) (*conn, error) {
	if len(l.conns) == 0 {
		err := l.raw.Initialize()
		l.own = err == nil
		if err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
			return nil, fault.New(fault.Unavailable, "initialising %s: %w", l.path, err)
		}
	}
	c, err := l.attachTo(t)
	if err != nil && len(l.conns) == 0 {
		l.finalise()
	}
	return c, err
}

// attachTo is attach on an initialised library.
func (l *library) attachTo(t target) (*conn, error) {
	slot, info, err := l.slotOf(t)
	if err != nil {
		return nil, err
	}
	c := &conn{lib: l, slot: slot, info: info, mech: map[uint]bool{}, probing: new(sync.Mutex)}
	mechanisms, err := l.raw.GetMechanismList(slot)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "listing mechanisms of %s: %w", t, err)
	}
	for _, m := range mechanisms {
		c.mech[m.Mechanism] = true
	}
	if c.keeper, err = l.session(slot); err != nil {
		return nil, fault.New(fault.Unavailable, "opening a session with %s: %w", t, err)
	}
	if err := l.login(c.keeper, info, t.pin, t.how); err != nil {
		_ = l.raw.CloseSession(c.keeper)
		return nil, err
	}
	c.sessions = make(chan pkcs11.SessionHandle, directSessions(t.sessions))
	for range cap(c.sessions) {
		session, err := l.session(slot)
		if err != nil {
			if len(c.sessions) > 0 {
				break // a token with few sessions works with fewer
			}
			_ = l.raw.CloseSession(c.keeper)
			return nil, fault.New(fault.Unavailable, "opening a session with %s: %w", t, err)
		}
		c.sessions <- session
	}
	c.direct = make(chan struct{}, len(c.sessions))
	c.pooled = make(chan struct{}, pooledSessions(t.sessions))
	return c, nil
}

// session opens a read-write session.
func (l *library) session(slot uint) (pkcs11.SessionHandle, error) {
	return l.raw.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
}

// slotOf returns the slot of the only token that the target describes. Slot
// numbers move between initialisations; labels may be given twice.
func (l *library) slotOf(t target) (uint, pkcs11.TokenInfo, error) {
	slots, err := l.raw.GetSlotList(true)
	if err != nil {
		return 0, pkcs11.TokenInfo{}, fault.New(fault.Unavailable, "listing the slots of %s: %w", l.path, err)
	}
	var slot uint
	var found []pkcs11.TokenInfo
	for _, candidate := range slots {
		info, err := l.raw.GetTokenInfo(candidate)
		if err != nil {
			continue // a slot with a broken token must not hide the others
		}
		if t.serial != "" && info.SerialNumber == t.serial || t.serial == "" && info.Label == t.label {
			slot, found = candidate, append(found, info)
		}
	}
	switch {
	case len(found) == 0:
		return 0, pkcs11.TokenInfo{}, fault.New(fault.Unavailable, "opening %s with %s: %w", t, l.path, errAbsent)
	case len(found) > 1 && t.serial == "":
		return 0, pkcs11.TokenInfo{}, fault.FieldOf(fault.Conflict, "token_label",
			"%d tokens have the label %q; use token_serial to say which: %s or %s", len(found), t.label, found[0].SerialNumber, found[1].SerialNumber)
	case len(found) > 1:
		return 0, pkcs11.TokenInfo{}, fault.FieldOf(fault.Conflict, "token_serial", "%d tokens have the serial number %s", len(found), t.serial)
	}
	return slot, found[0], nil
}
