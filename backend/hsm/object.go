//go:build cgo

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// findBatch is how many object handles one C_FindObjects may return.
const findBatch = 64

// withSession makes a raw call with a session that nobody else uses. The caller
// has a place in direct, or the whole gate, so a session is free.
func withSession[T any](c *conn, call func(pkcs11.SessionHandle) (T, error)) (T, error) {
	session := <-c.sessions
	defer func() { c.sessions <- session }()
	return call(session)
}

// loggedIn returns an error of class loss when the login of this process is gone:
// a token shows no private objects then, which must not be taken for their absence.
func (c *conn) loggedIn() error {
	if c.info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
		return nil
	}
	c.probing.Lock()
	defer c.probing.Unlock()
	state, err := c.lib.raw.GetSessionInfo(c.keeper)
	if err != nil {
		return err
	}
	if state.State != pkcs11.CKS_RW_USER_FUNCTIONS && state.State != pkcs11.CKS_RO_USER_FUNCTIONS {
		return pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return nil
}

// answers returns an error when the connection is not what it was. It asks for
// something that a library cannot know without its token.
func (c *conn) answers() error {
	if err := c.loggedIn(); err != nil || c.info.Flags&pkcs11.CKF_RNG == 0 {
		return err
	}
	c.probing.Lock()
	defer c.probing.Unlock()
	_, err := c.lib.raw.GenerateRandom(c.keeper, 1)
	return err
}

// absent returns the error for a key that was not found: NotFound, or a loss.
func (c *conn) absent(id []byte) error {
	if err := c.loggedIn(); err != nil {
		return err
	}
	return fault.New(fault.NotFound, "token %q (%s) has no private key with CKA_ID %x", c.info.Label, c.info.SerialNumber, id)
}

// find returns the objects of a class with a CKA_ID, or all when id is nil.
func (c *conn) find(session pkcs11.SessionHandle, objectClass uint, id []byte) (handles []pkcs11.ObjectHandle, err error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, objectClass)}
	if id != nil {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	if err := c.lib.raw.FindObjectsInit(session, template); err != nil {
		return nil, fmt.Errorf("finding key %x: %w", id, err)
	}
	defer func() {
		if final := c.lib.raw.FindObjectsFinal(session); err == nil && final != nil {
			err = fmt.Errorf("finding key %x: %w", id, final)
		}
	}()
	for {
		batch, _, err := c.lib.raw.FindObjects(session, findBatch)
		if err != nil {
			return nil, fmt.Errorf("finding key %x: %w", id, err)
		}
		if len(batch) == 0 {
			return handles, nil
		}
		handles = append(handles, batch...)
	}
}

// evidence reads back what the token says about a private key.
func (c *conn) evidence(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) (Evidence, error) {
	var e Evidence
	for _, row := range []struct {
		attribute uint
		into      *bool
	}{
		{pkcs11.CKA_LOCAL, &e.Local},
		{pkcs11.CKA_ALWAYS_SENSITIVE, &e.AlwaysSensitive},
		{pkcs11.CKA_NEVER_EXTRACTABLE, &e.NeverExtractable},
		{pkcs11.CKA_SENSITIVE, &e.Sensitive},
		{pkcs11.CKA_EXTRACTABLE, &e.Extractable},
	} {
		values, err := c.lib.raw.GetAttributeValue(session, key, []*pkcs11.Attribute{pkcs11.NewAttribute(row.attribute, nil)})
		if err != nil {
			return Evidence{}, fmt.Errorf("reading back attribute %#x: %w", row.attribute, err)
		}
		*row.into = len(values[0].Value) == 1 && values[0].Value[0] != 0
	}
	return e, nil
}

// The Edwards curve mechanisms of PKCS#11 v3.0, which the binding does not name.
const (
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
	ckkECEdwards           = 0x40
)

// usedMechanisms are the mechanisms that this package calls.
var usedMechanisms = []struct {
	number uint
	name   string
}{
	{pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN"},
	{pkcs11.CKM_RSA_PKCS, "CKM_RSA_PKCS"},
	{pkcs11.CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS"},
	{pkcs11.CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"},
	{pkcs11.CKM_ECDSA, "CKM_ECDSA"},
	{ckmECEdwardsKeyPairGen, "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
	{ckmEdDSA, "CKM_EDDSA"},
}

// mechanismName returns the name of a mechanism that this package calls.
func mechanismName(number uint) string {
	for _, used := range usedMechanisms {
		if used.number == number {
			return used.name
		}
	}
	return fmt.Sprintf("mechanism 0x%08x", number)
}

// mechanismsOf sorts out the mechanisms of a token.
func mechanismsOf(has map[uint]bool) Mechanisms {
	m := Mechanisms{Count: len(has)}
	for _, used := range usedMechanisms {
		if has[used.number] {
			m.Present = append(m.Present, used.name)
		} else {
			m.Missing = append(m.Missing, used.name)
		}
	}
	return m
}
