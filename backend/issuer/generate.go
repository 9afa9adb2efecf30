package issuer

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// KeyChoice says which key a CA gets: a new one of Spec (in the token named Token,
// or in storage), or the existing one that Existing refers to.
type KeyChoice struct {
	Existing string
	Name     string
	Spec     cert.KeySpec
	Token    string
}

// Take makes or finds the chosen key. An existing one passes the gate for keys of CAs.
func (s *Set) Take(ctx context.Context, choice KeyChoice) (*keyring.Key, crypto.Signer, error) {
	key, err := s.take(ctx, choice)
	if err != nil {
		return nil, nil, err
	}
	signer, err := s.Ring.Signer(ctx, key.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("opening key %s: %w", key.ID, err)
	}
	return key, signer, nil
}

func (s *Set) take(ctx context.Context, choice KeyChoice) (*keyring.Key, error) {
	if choice.Existing == "" {
		return s.Ring.Generate(ctx, choice.Name, choice.Spec, choice.Token)
	}
	key, err := s.Ring.Get(ctx, choice.Existing)
	if err != nil {
		return nil, err
	}
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return key, s.admit(ctx, snap, "key_ref", key.Fingerprint())
}

// Discard destroys a key that Take made for a CA that was then refused, so that what
// is refused leaves nothing behind. An existing key stays.
func (s *Set) Discard(ctx context.Context, choice KeyChoice, key *keyring.Key) {
	if choice.Existing != "" {
		return
	}
	if err := s.Ring.Destroy(context.WithoutCancel(ctx), key.ID); err != nil {
		s.Log.Warn("the key of a refused CA could not be destroyed", "key", key.ID, "error", err)
	}
}

// PendingRequest asks for a key and a certificate request to be signed outside.
type PendingRequest struct {
	Key     KeyChoice
	Name    string // issuer_name, may be ""
	Subject pkix.Name
	// SubjectEncoding is the string type of the subject, see cert.MarshalSubject.
	SubjectEncoding string
	// Extensions are what the request asks for: subjectAltName, keyUsage, or none.
	Extensions []pkix.Extension
	Signature  profile.Signature // how an RSA key signs the request
	Profile    string            // what the certificate shall be; checked when it comes back
	// AddBasicConstraints asks for CA:TRUE in the request, for CAs that need it.
	AddBasicConstraints bool
}

// Generate makes a key and a CSR and keeps both as a pending issuer until Import
// brings the certificate back.
func (s *Set) Generate(ctx context.Context, request PendingRequest) (*Issuer, *keyring.Key, error) {
	if err := s.CheckName(ctx, request.Name); err != nil {
		return nil, nil, err
	}
	key, signer, err := s.Take(ctx, request.Key)
	if err != nil {
		return nil, nil, err
	}
	csr, err := request.sign(signer)
	if err != nil {
		s.Discard(ctx, request.Key, key)
		return nil, nil, fmt.Errorf("signing request with key %s: %w", key.ID, err)
	}
	r := &record{
		ID: newID(), KeyID: key.ID, State: Pending, CSR: csr, Profile: request.Profile,
		Settings: DefaultSettings(), CreatedAt: s.Now().Unix(),
	}
	r.Settings.Name = request.Name
	err = s.change(ctx, func(snap *snapshot) error {
		if err := snap.checkName(nil, request.Name); err != nil {
			return err
		}
		return s.records.Put(ctx, r.ID, r)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("storing pending issuer %s: %w", r.ID, err)
	}
	pending, err := s.Get(ctx, r.ID)
	return pending, key, err
}

// sign makes the CSR.
func (r *PendingRequest) sign(signer crypto.Signer) ([]byte, error) {
	algorithm, err := r.Signature.Algorithm(signer.Public())
	if err != nil {
		return nil, err
	}
	subject, err := cert.MarshalSubject(r.Subject, r.SubjectEncoding)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{RawSubject: subject, ExtraExtensions: r.Extensions, SignatureAlgorithm: algorithm}
	if r.AddBasicConstraints {
		template.ExtraExtensions = append(template.ExtraExtensions, basicConstraintsCA)
	}
	return sign.Request(template, signer)
}

// basicConstraintsCA is CA:TRUE without a path length, critical (RFC 5280 4.2.1.9).
var basicConstraintsCA = pkix.Extension{
	Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff},
}

// CheckName refuses a name that a new issuer may not have; "" is none and may be had
// by any number.
func (s *Set) CheckName(ctx context.Context, name string) error {
	snap, err := s.current(ctx)
	if err != nil {
		return err
	}
	return snap.checkName(nil, name)
}

// checkName refuses a name that is malformed, reserved, or that of an issuer other
// than target. Names that differ only by case would be taken for one by whoever
// writes the ACL (authz-2).
func (n *snapshot) checkName(target *Issuer, name string) error {
	if name == "" {
		return nil
	}
	if err := checkName(name); err != nil {
		return err
	}
	for _, other := range n.ordered {
		if other == target {
			continue
		}
		taken := other.State() != Deleted && strings.EqualFold(other.Name(), name)
		if taken || strings.EqualFold(other.ID(), name) || strings.EqualFold(other.ca, name) || slices.Contains(other.FormerIDs, name) {
			return fault.Field("issuer_name", "%q is taken by another issuer", name)
		}
		// Whoever follows a URL in a certificate must not reach another CA.
		had := func(earlier string) bool { return strings.EqualFold(earlier, name) }
		if !other.NamesFree && (had(other.Name()) || slices.ContainsFunc(other.FormerNames, had)) && (target == nil || target.ca != other.ca) {
			return fault.Field("issuer_name", "%q was the name of issuer %s of another CA, whose certificates may carry URLs with that name: choose another", name, other.ID())
		}
	}
	return nil
}

// AddRoot keeps a self-signed certificate that this mount's key signed and makes it
// an active issuer. The certificate was recorded in the ledger before.
func (s *Set) AddRoot(ctx context.Context, name, keyID string, root *x509.Certificate) (*Issuer, error) {
	r := &record{
		ID: newID(), KeyID: keyID, State: Active, Certificate: root.Raw,
		Settings: DefaultSettings(), CreatedAt: s.Now().Unix(),
	}
	r.Settings.Name = name
	err := s.change(ctx, func(snap *snapshot) (err error) {
		if err := snap.checkName(nil, name); err != nil {
			return err
		}
		r.CA = snap.authorityOf(root)
		if err := s.records.Put(ctx, r.ID, r); err != nil {
			return err
		}
		return s.followLatest(ctx, snap, []*record{r})
	})
	if err != nil {
		return nil, fmt.Errorf("storing issuer %s: %w", r.ID, err)
	}
	return s.Get(ctx, r.ID)
}
