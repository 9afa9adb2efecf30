//go:build cgo

package hsm

import (
	"fmt"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// dialect says which uses of a key a library keeps apart.
type dialect uint8

// The dialects. A TPM has one bit for signing and one for decrypting (TPM 2.0
// Library part 2, section 8.3). tpm2-pkcs11 shows the first as CKA_SIGN and
// CKA_ENCRYPT, the second as CKA_DECRYPT and CKA_VERIFY, refuses templates that say
// otherwise, and makes PKCS #1 v1.5 signatures by decrypting.
const (
	standard dialect = iota
	ofTPM
)

// madeByTPM2 is how tpm2-pkcs11 names its maker.
const madeByTPM2 = "tpm2-software.github.io"

// dialect asks an initialised library which dialect it speaks.
func (l *library) dialect() (dialect, error) {
	info, err := l.raw.GetInfo()
	if err == nil && info.ManufacturerID == madeByTPM2 {
		return ofTPM, nil
	}
	return standard, err
}

// uses are those that dialects mix up.
type uses struct{ verify, encrypt, decrypt bool }

// uses returns the narrowest ones with which a key signs: an elliptic curve key
// signs and nothing else in any dialect.
func (d dialect) uses(key cert.KeyType) uses {
	switch {
	case d != ofTPM:
		return uses{verify: true}
	case key == cert.RSA:
		return uses{verify: true, encrypt: true, decrypt: true}
	}
	return uses{encrypt: true}
}

// attribute is one row of a key template.
type attribute struct {
	kind  uint
	value any
}

// publicAttributes are those of the public half, beside class, type and parameters.
func (d dialect) publicAttributes(key cert.KeyType, id []byte, label string) []attribute {
	rows := []attribute{
		{pkcs11.CKA_TOKEN, true},
		{pkcs11.CKA_PRIVATE, false},
		{pkcs11.CKA_MODIFIABLE, false},
		{pkcs11.CKA_ID, id},
		{pkcs11.CKA_VERIFY, d.uses(key).verify},
		{pkcs11.CKA_ENCRYPT, d.uses(key).encrypt},
		{pkcs11.CKA_WRAP, false},
	}
	return withLabel(rows, label)
}

// privateAttributes are those of the private half: it signs, in the token, and, as
// far as the dialect has words for it, nothing else. Nobody can change that later.
func (d dialect) privateAttributes(key cert.KeyType, id []byte, label string) []attribute {
	rows := []attribute{
		{pkcs11.CKA_TOKEN, true},
		{pkcs11.CKA_PRIVATE, true},
		{pkcs11.CKA_SENSITIVE, true},
		{pkcs11.CKA_EXTRACTABLE, false},
		{pkcs11.CKA_MODIFIABLE, false},
		{pkcs11.CKA_ID, id},
		{pkcs11.CKA_SIGN, true},
		{pkcs11.CKA_DECRYPT, d.uses(key).decrypt},
		{pkcs11.CKA_UNWRAP, false},
		{pkcs11.CKA_DERIVE, false},
	}
	return withLabel(rows, label)
}

// withLabel adds a label; tokens dislike empty ones.
func withLabel(rows []attribute, label string) []attribute {
	if label == "" {
		return rows
	}
	return append(rows, attribute{pkcs11.CKA_LABEL, label})
}

// attributeSet converts rows for crypto11.
func attributeSet(rows []attribute) (crypto11.AttributeSet, error) {
	set := crypto11.NewAttributeSet()
	for _, row := range rows {
		if err := set.Set(row.kind, row.value); err != nil {
			return nil, fmt.Errorf("setting attribute %#x: %w", row.kind, err)
		}
	}
	return set, nil
}

// template converts rows for the binding.
func template(rows []attribute) []*pkcs11.Attribute {
	list := make([]*pkcs11.Attribute, 0, len(rows))
	for _, row := range rows {
		list = append(list, pkcs11.NewAttribute(row.kind, row.value))
	}
	return list
}
