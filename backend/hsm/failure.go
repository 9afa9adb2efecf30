//go:build cgo

package hsm

import (
	"context"
	"errors"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// class says what a PKCS#11 return value means for whoever called.
type class uint8

// The classes. Everything that has no row is a passing failure.
const (
	passing class = iota // this call failed, the connection may be well
	loss                 // token or session is gone: open it again
	suspect              // a loss, or a failure of this call alone: ask the token
	stale                // the object handle is void: find the key again
	pin                  // the PIN was refused: never offer it again by itself
	locked               // no PIN is accepted now: says nothing about the PIN
	lacking              // the token cannot do this
	full                 // no session or memory is left in the token
)

// classes reads the return values of PKCS#11 v2.40 section 5.1. A general error is
// suspect: remoting modules and network tokens report a broken connection that way,
// tpm2-pkcs11 whatever the TPM refuses.
var classes = map[pkcs11.Error]class{
	pkcs11.CKR_DEVICE_ERROR:               loss,
	pkcs11.CKR_DEVICE_MEMORY:              full,
	pkcs11.CKR_DEVICE_REMOVED:             loss,
	pkcs11.CKR_TOKEN_NOT_PRESENT:          loss,
	pkcs11.CKR_TOKEN_NOT_RECOGNIZED:       loss,
	pkcs11.CKR_SLOT_ID_INVALID:            loss,
	pkcs11.CKR_SESSION_CLOSED:             loss,
	pkcs11.CKR_SESSION_HANDLE_INVALID:     loss,
	pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED:   loss,
	pkcs11.CKR_USER_NOT_LOGGED_IN:         loss,
	pkcs11.CKR_GENERAL_ERROR:              suspect,
	pkcs11.CKR_FUNCTION_FAILED:            suspect,
	pkcs11.CKR_OPERATION_ACTIVE:           loss, // a session left half-used by an earlier failure
	pkcs11.CKR_KEY_HANDLE_INVALID:         stale,
	pkcs11.CKR_OBJECT_HANDLE_INVALID:      stale,
	pkcs11.CKR_PIN_INCORRECT:              pin,
	pkcs11.CKR_PIN_INVALID:                pin,
	pkcs11.CKR_PIN_LEN_RANGE:              pin,
	pkcs11.CKR_PIN_EXPIRED:                pin,
	pkcs11.CKR_PIN_LOCKED:                 locked,
	pkcs11.CKR_MECHANISM_INVALID:          lacking,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:    lacking,
	pkcs11.CKR_KEY_SIZE_RANGE:             lacking,
	pkcs11.CKR_DOMAIN_PARAMS_INVALID:      lacking,
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:     lacking,
	pkcs11.CKR_TEMPLATE_INCONSISTENT:      lacking,
	pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:     lacking,
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID:    lacking,
	pkcs11.Error(ckrCurveNotSupported):    lacking,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED: lacking,
	pkcs11.CKR_SESSION_COUNT:              full,
	pkcs11.CKR_HOST_MEMORY:                full,
}

// ckrCurveNotSupported is CKR_CURVE_NOT_SUPPORTED of PKCS#11 v2.40.
const ckrCurveNotSupported = 0x140

// errReplaced says that the connection was replaced before the call could start.
var errReplaced = errors.New("connection replaced")

// classOf returns the class of an error that a token or crypto11 returned.
func classOf(err error) class {
	if code, ok := errors.AsType[pkcs11.Error](err); ok {
		return classes[code]
	}
	return passing
}

// translate makes a fault of what a token said; a fault stays as it is.
func (d *device) translate(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Unavailable, "waiting for token %s: %w", d.name(), err)
	}
	switch classOf(err) {
	case loss:
		return fault.New(fault.Unavailable, "token %s is lost: %w", d.name(), err)
	case locked:
		return fault.New(fault.Unavailable,
			"token %s accepts no PIN now: wrong ones were tried too often; a TPM recovers after a while, other tokens need their security officer: %w", d.name(), err)
	case lacking:
		return fault.New(fault.Invalid, "token %s cannot do this: %w", d.name(), err)
	case full:
		return fault.New(fault.Unavailable, "token %s is out of sessions or memory: %w", d.name(), err)
	}
	return fault.New(fault.Unavailable, "token %s failed: %w", d.name(), err)
}
