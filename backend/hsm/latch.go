//go:build cgo

package hsm

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// latch is a PIN that a token has refused. Tokens lock themselves after a few wrong
// PINs, so each wrong one is offered once in the life of the process, until an
// operator offers it again.
type latch struct {
	token identity
	pin   [sha256.Size]byte
}

// samePIN compares two PINs in constant time.
func samePIN(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// latched reports whether the token has refused this PIN.
func (l *library) latched(token identity, pin string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, refused := l.latches[latch{token, sha256.Sum256([]byte(pin))}]
	return refused
}

// forgive lets a PIN be offered once more to any token of the library.
func (l *library) forgive(pin string) {
	digest := sha256.Sum256([]byte(pin))
	l.mu.Lock()
	defer l.mu.Unlock()
	for wrong := range l.latches {
		if wrong.pin == digest {
			delete(l.latches, wrong)
		}
	}
}

// manner says why a PIN is offered.
type manner uint8

// The manners.
const (
	byItself   manner = iota // by a request or a reconnection
	byOperator               // because an operator has just written it
)

// login logs in to the token that the session belongs to, once.
func (l *library) login(session pkcs11.SessionHandle, info pkcs11.TokenInfo, pinText string, how manner) error {
	if info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
		return nil
	}
	token := identityOf(info)
	switch {
	case pinText == "":
		return fault.Field("pin", "token %s asks for one", token)
	case l.latched(token, pinText):
		return fault.New(fault.Denied,
			"%w: token %s refused it before and it is not tried again; write the token's configuration with the right PIN", ErrWrongPIN, token)
	case info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return pkcs11.Error(pkcs11.CKR_PIN_LOCKED)
	case info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0 && how != byOperator:
		return fault.New(fault.Denied,
			"%w: token %s has one try left, which is kept for an operator; write the token's configuration with the right PIN", ErrWrongPIN, token)
	}
	err := l.raw.Login(session, pkcs11.CKU_USER, pinText)
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		// Nobody of ours is: an earlier connection went away without a logout. A
		// login that was not checked would leave a wrong PIN undiscovered.
		if err = l.raw.Logout(session); err == nil {
			err = l.raw.Login(session, pkcs11.CKU_USER, pinText)
		}
	}
	if classOf(err) != pin {
		return err
	}
	return l.refuse(token, pinText, err)
}

// refuse latches a PIN that the token has refused and returns the refusal.
func (l *library) refuse(token identity, pinText string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latches[latch{token, sha256.Sum256([]byte(pinText))}] = struct{}{}
	return fault.New(fault.Denied, "%w: token %s: %w", ErrWrongPIN, token, err)
}
