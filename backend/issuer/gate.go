package issuer

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
)

// admit is the gate for a key that becomes a CA's: not that of a revoked issuer, and
// with nothing on record against it. field is what a refusal blames.
func (s *Set) admit(ctx context.Context, snap *snapshot, field string, key cert.Fingerprint) error {
	err := snap.checkKey(key)
	if err == nil && s.CheckPast != nil {
		err = s.CheckPast(ctx, key)
	}
	return fault.Blame(field, err)
}

// admitCertificate is admit for a certificate that is to become an issuer. One that a CA
// of this mount has revoked or suspended does not come with its key: it would issue
// (ca-4).
func (s *Set) admitCertificate(ctx context.Context, snap *snapshot, p *plan, c *x509.Certificate, key cert.Fingerprint) error {
	if err := s.hold(ctx, snap, "certificate", key); err != nil {
		return fmt.Errorf("importing %q: %w", c.Subject.String(), err)
	}
	revoked, err := s.isRevoked(ctx, c)
	if err != nil || !revoked {
		return err
	}
	held, err := s.Ring.FindPublic(ctx, c.PublicKey)
	if err != nil {
		return err
	}
	if held != nil || slices.ContainsFunc(p.keys, func(k privateKey) bool { return k.public == key }) {
		return fault.FieldOf(fault.Conflict, "certificate", "certificate %s of %q is revoked or suspended: have its CA issue another one",
			cert.SerialOf(c.SerialNumber), c.Subject.String())
	}
	return nil
}

// isRevoked reports whether a CA of this mount has revoked or suspended a certificate.
func (s *Set) isRevoked(ctx context.Context, c *x509.Certificate) (bool, error) {
	if s.Config.Revoked == nil {
		return false, nil
	}
	return s.Config.Revoked(ctx, c)
}

// hold is admit for who holds mu: until the change has ended, no request gets a
// certificate of another kind for the key.
func (s *Set) hold(ctx context.Context, snap *snapshot, field string, key cert.Fingerprint) error {
	if s.ClaimKey != nil {
		release, err := s.ClaimKey(key)
		if err != nil {
			return fault.Blame(field, err)
		}
		s.held = append(s.held, release)
	}
	return s.admit(ctx, snap, field, key) // what was certified before is known now
}

// letGo ends what hold began.
func (s *Set) letGo() {
	for _, release := range s.held {
		release()
	}
	s.held = nil
}

// AdmitKey sends a public key that is to become a CA's through the gate.
func (s *Set) AdmitKey(ctx context.Context, key cert.Fingerprint) error {
	snap, err := s.current(ctx)
	if err != nil {
		return err
	}
	return s.admit(ctx, snap, "key_id", key)
}

// AdmitImport sends a private key to be imported, in PEM, through the gate for keys of
// CAs. One that is in the ring already passes: importing it changes nothing.
func (s *Set) AdmitImport(ctx context.Context, text []byte) error {
	snap, err := s.current(ctx)
	if err != nil {
		return err
	}
	return s.admitImport(ctx, snap, text)
}

func (s *Set) admitImport(ctx context.Context, snap *snapshot, text []byte) error {
	private, err := keyring.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	known, err := s.Ring.FindPublic(ctx, private.Public())
	if err != nil || known != nil {
		return err
	}
	key, err := cert.KeyFingerprint(private.Public())
	if err != nil {
		return err
	}
	return s.admit(ctx, snap, "pem_bundle", key)
}
