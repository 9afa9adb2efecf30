//go:build cgo

package hsm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// identity is what tells the tokens of a library apart. Not all makers number
// their tokens: those of tpm2-pkcs11 all have the serial number 0.
type identity struct{ label, serial string }

// identityOf returns the identity that a token shows.
func identityOf(info pkcs11.TokenInfo) identity { return identity{info.Label, info.SerialNumber} }

// String names the token for a message.
func (i identity) String() string { return fmt.Sprintf("%q (%s)", i.label, i.serial) }

// target is a token to connect to, and how.
type target struct {
	identity // an operator gives one half, a token that was open before has both
	sessions int
	timeout  time.Duration
	pin      string
	how      manner
}

// String names the token for a message.
func (t target) String() string {
	switch {
	case t.label == "":
		return "token_serial " + t.serial
	case t.serial == "":
		return fmt.Sprintf("token_label %q", t.label)
	}
	return "token " + t.identity.String()
}

// means reports whether the target is the token that shows info.
func (t target) means(info pkcs11.TokenInfo) bool {
	return (t.label == "" || t.label == info.Label) && (t.serial == "" || t.serial == info.SerialNumber)
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
// or the PIN is refused or locked.
func mayPass(err error) bool {
	kind := fault.KindOf(err)
	return (kind == fault.Unavailable || kind == fault.Internal) && classOf(err) != locked
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
			return nil, l.refuse(identityOf(c.info), t.pin, err)
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
	config := &crypto11.Config{Path: l.path, TokenSerial: t.serial, LoginNotSupported: true}
	if t.serial == "" {
		config.TokenLabel = t.label
	}
	return crypto11.Configure(config)
}

// dialLoggedIn opens the crypto11 context that works, with a PIN that the token has
// just accepted. Where a process is one application to the library, crypto11 finds
// it logged in. Remoting modules take every binding for an application of its own;
// there this is a second login.
func (l *library) dialLoggedIn(c *conn, t target) (*crypto11.Context, error) {
	config := &crypto11.Config{
		Path: l.path, Pin: t.pin,
		MaxSessions: pooledSessions(t.sessions) + 1, PoolWaitTimeout: t.timeout,
		LoginNotSupported: c.info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0,
	}
	if c.numbered {
		config.TokenSerial = c.info.SerialNumber
	} else {
		// The library runs, so its slots stay where they are.
		slot := int(c.slot)
		config.SlotNumber = &slot
	}
	return crypto11.Configure(config)
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
	at, err := l.slotOf(t)
	if err != nil {
		return nil, err
	}
	slot, info := at.slot, at.info
	c := &conn{lib: l, position: at, mech: map[uint]bool{}, probing: new(sync.Mutex)}
	if c.dialect, err = l.dialect(); err != nil {
		return nil, fault.New(fault.Unavailable, "asking who made %s: %w", l.path, err)
	}
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

// position is where a token is.
type position struct {
	slot     uint
	info     pkcs11.TokenInfo
	numbered bool // no other slot shows its serial number
}

// slotOf returns the position of the only token that the target describes. Slot
// numbers move between initialisations; labels may be given twice, and some makers
// give all tokens one serial number.
func (l *library) slotOf(t target) (position, error) {
	slots, err := l.raw.GetSlotList(true)
	if err != nil {
		return position{}, fault.New(fault.Unavailable, "listing the slots of %s: %w", l.path, err)
	}
	var found []position
	serials := map[string]int{}
	for _, slot := range slots {
		info, err := l.raw.GetTokenInfo(slot)
		if err != nil {
			continue // a slot with a broken token must not hide the others
		}
		serials[info.SerialNumber]++
		if t.means(info) {
			found = append(found, position{slot: slot, info: info})
		}
	}
	if len(found) > 1 { // a token to be made may show the serial number of one that is
		found = slices.DeleteFunc(found, func(p position) bool { return p.info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 })
	}
	switch len(found) {
	case 0:
		return position{}, fault.New(fault.Unavailable, "opening %s with %s: %w", t, l.path, errAbsent)
	case 1:
		found[0].numbered = serials[found[0].info.SerialNumber] == 1
		return found[0], nil
	}
	return position{}, t.ambiguous(identityOf(found[0].info), identityOf(found[1].info))
}

// ambiguous refuses a target that two tokens fit, and says how to tell them apart.
func (t target) ambiguous(a, b identity) error {
	switch {
	case a == b:
		return fault.FieldOf(fault.Conflict, "token_label", "several tokens are %s; they must differ in label or serial number", a)
	case t.serial == "":
		return fault.FieldOf(fault.Conflict, "token_label",
			"several tokens have the label %q; use token_serial to say which: %s or %s", t.label, a.serial, b.serial)
	}
	return fault.FieldOf(fault.Conflict, "token_serial",
		"several tokens have the serial number %s; use token_label to say which: %q or %q", t.serial, a.label, b.label)
}
