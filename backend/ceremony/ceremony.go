package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// Fact is one value that a witness can write down.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Step is one thing that was done or seen, in words a witness understands.
type Step struct {
	Name   string  `json:"step"`
	Facts  []Fact  `json:"facts,omitempty"`
	Checks []Check `json:"checks,omitempty"`
}

// Config says what a ceremony works with. PIN, Report and Now are required.
type Config struct {
	// PIN returns the user PIN of the named token. It is asked once, after all that
	// can be checked without the token; a wrong PIN is never tried again.
	PIN func(token string) (string, error)
	// Report hears each step as it is done.
	Report func(Step)
	Now    func() time.Time
	// Confirm is asked when all that needs no token is checked and reported, before the
	// PIN; its error ends the ceremony. nil: nobody is asked.
	Confirm func() error
	// CheckOnly ends a ceremony before it signs or records anything: after the order,
	// its inputs and outputs, the token and the key in it were checked.
	CheckOnly bool
}

// Ceremony carries out orders, one after the other.
type Ceremony struct {
	config Config
}

// New returns a ceremony; nothing is read or opened yet.
func New(config Config) *Ceremony { return &Ceremony{config} }

func (c *Ceremony) report(name string, facts ...Fact) {
	c.config.Report(Step{Name: name, Facts: facts})
}

// confirm asks whether the reported plan shall be carried out.
func (c *Ceremony) confirm() error {
	if c.config.Confirm == nil || c.config.CheckOnly {
		return nil
	}
	return c.config.Confirm()
}

// now returns the time in the whole seconds of certificates and CRLs.
func (c *Ceremony) now() time.Time { return c.config.Now().UTC().Truncate(time.Second) }

// open logs in to the token that an order names.
func (c *Ceremony) open(ctx context.Context, order TokenOrder) (*hsm.Token, error) {
	pin, err := c.config.PIN(order.name())
	if err != nil {
		return nil, fmt.Errorf("reading the PIN of %s: %w", order.name(), err)
	}
	token, err := hsm.Open(ctx, hsm.Config{
		Module: order.Module, TokenLabel: order.Label, TokenSerial: order.Serial, PIN: pin,
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", order.name(), err)
	}
	status := token.Status(ctx)
	c.report("token opened",
		Fact{"module", order.Module},
		Fact{"label", status.Label},
		Fact{"serial number", status.Serial},
		Fact{"manufacturer", status.Manufacturer},
		Fact{"model", status.Model},
		Fact{"firmware", status.Firmware},
	)
	return token, nil
}

// find returns the signer of the root's key, found by the public key in the root's
// certificate, and tells what the token says of it. A key that this package generated
// has a CKA_ID that follows from its label; one of other software may have any, or none.
func (c *Ceremony) find(ctx context.Context, token *hsm.Token, key KeyOrder, issuer *x509.Certificate) (crypto.Signer, error) {
	id, err := key.givenID()
	if err != nil {
		return nil, err
	}
	signer, found, err := token.Search(ctx, issuer.PublicKey, id, key.Label)
	if err != nil {
		return nil, fault.FieldOf(fault.KindOf(err), "key", "finding the key of %s: %w", issuer.Subject, err)
	}
	return signer, c.reportKey("key found", found, signer.Public())
}

// showKey reads the attributes of a private key back from the token.
func (c *Ceremony) showKey(ctx context.Context, token *hsm.Token, step string, id []byte, pub crypto.PublicKey) error {
	evidence, err := token.Evidence(ctx, id)
	if err != nil {
		return fmt.Errorf("reading key %s back: %w", hex.EncodeToString(id), err)
	}
	return c.reportKey(step, hsm.Found{ID: id, Evidence: evidence}, pub)
}

func (c *Ceremony) reportKey(step string, found hsm.Found, pub crypto.PublicKey) error {
	hash, err := cert.KeyFingerprint(pub)
	if err != nil {
		return err
	}
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return err
	}
	id, evidence := hex.EncodeToString(found.ID), found.Evidence
	if id == "" {
		id = "none"
	}
	c.report(step,
		Fact{"CKA_ID", id},
		Fact{"algorithm", spec.String()},
		Fact{"public key SHA-256", hash.String()},
		Fact{"CKA_LOCAL", strconv.FormatBool(evidence.Local)},
		Fact{"CKA_SENSITIVE", strconv.FormatBool(evidence.Sensitive)},
		Fact{"CKA_ALWAYS_SENSITIVE", strconv.FormatBool(evidence.AlwaysSensitive)},
		Fact{"CKA_EXTRACTABLE", strconv.FormatBool(evidence.Extractable)},
		Fact{"CKA_NEVER_EXTRACTABLE", strconv.FormatBool(evidence.NeverExtractable)},
	)
	return nil
}

// unused refuses a label or CKA_ID that the token has a key under: no root key is made
// twice, and none is adopted unseen (hsm-2).
func (c *Ceremony) unused(ctx context.Context, token *hsm.Token, key KeyOrder) error {
	id, err := key.id()
	if err != nil {
		return err
	}
	held, err := token.List(ctx, nil)
	if err != nil {
		return fmt.Errorf("looking for key %s: %w", key.Label, err)
	}
	for _, pair := range held {
		if pair.Label == key.Label || bytes.Equal(pair.ID, id) {
			return fault.FieldOf(fault.Conflict, "key.label", "the token holds key %q with CKA_ID %x already; choose another label", pair.Label, pair.ID)
		}
	}
	return nil
}

// generate makes the root's key pair.
func (c *Ceremony) generate(ctx context.Context, token *hsm.Token, spec cert.KeySpec, key KeyOrder) (crypto.Signer, error) {
	id, err := key.id()
	if err != nil {
		return nil, err
	}
	signer, evidence, err := token.Generate(ctx, spec, id, key.Label)
	if err != nil {
		return nil, fmt.Errorf("generating key %s: %w", key.Label, err)
	}
	if err := c.showKey(ctx, token, "key generated in the token", id, signer.Public()); err != nil {
		return nil, err
	}
	if !evidence.Local || !evidence.Sensitive || !evidence.AlwaysSensitive || evidence.Extractable || !evidence.NeverExtractable {
		return nil, fault.New(fault.Denied, "generating key %s: the token says that the key was not made in it, or could leave it", key.Label)
	}
	return signer, nil
}
