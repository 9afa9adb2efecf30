//go:build cgo

package hsm

import (
	"errors"
	"slices"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxNamed bounds how many tokens a message names.
const maxNamed = 16

// explain tells an operator why a token could not be opened: when the library shows
// other tokens, the label or the serial number is wrong, and the error, Invalid, names
// the tokens that are there. Else it returns the cause. The caller holds the whole gate.
func (l *library) explain(t target, cause error) error {
	if !fault.Is(cause, fault.Unavailable) {
		return cause
	}
	present, err := l.present()
	if err != nil || len(present) == 0 || slices.ContainsFunc(present, t.means) {
		return cause
	}
	var names []string
	for _, info := range present[:min(len(present), maxNamed)] {
		names = append(names, identityOf(info).String())
	}
	if more := len(present) - len(names); more > 0 {
		names = append(names, "others")
	}
	field := "token_label"
	if t.label == "" {
		field = "token_serial"
	}
	return fault.Field(field, "no token of %s has the %s; it shows tokens with these labels (and serial numbers): %s", l.path, t, fault.List(names))
}

// present returns the initialised tokens that a library shows.
func (l *library) present() ([]pkcs11.TokenInfo, error) {
	if l.raw == nil {
		return nil, errAbsent
	}
	if len(l.conns) == 0 {
		err := l.raw.Initialize()
		if err == nil {
			defer func() { _ = l.raw.Finalize() }()
		} else if !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
			return nil, err
		}
	}
	slots, err := l.raw.GetSlotList(true)
	if err != nil {
		return nil, err
	}
	var present []pkcs11.TokenInfo
	for _, slot := range slots {
		info, err := l.raw.GetTokenInfo(slot)
		if err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
			present = append(present, info)
		}
	}
	return present, nil
}
