package issue

import (
	"context"
	"crypto"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// admit is the one gate for public keys. Each key passes it before it gets a
// certificate, whatever the path: it refuses the key of a revoked CA, a key that was
// revoked as compromised, and a key of this mount (of a CA, pending or not, or of a
// responder) for a certificate of another kind. kind is the profile's. field is what
// the message blames.
//
// While the ledger loads, admit waits for it, and answers Unavailable when it cannot be
// loaded: what is not known yet may be a compromise.
func (s *Service) admit(ctx context.Context, field string, pub crypto.PublicKey, kind string) (cert.Fingerprint, error) {
	key, err := cert.KeyFingerprint(pub)
	if err != nil {
		return key, err
	}
	if err := s.checkHolder(ctx, key, kind); err != nil {
		return key, fault.Blame(field, err)
	}
	return key, fault.Blame(field, s.CheckPast(ctx, key, kind))
}

// claim is admit for a key that a request is about to have certified: until release,
// which is called after the ledger knows the certificate, no other request gets one of
// another kind for the key.
func (s *Service) claim(ctx context.Context, field string, pub crypto.PublicKey, kind string) (key cert.Fingerprint, release func(), err error) {
	if key, err = cert.KeyFingerprint(pub); err != nil {
		return key, nil, err
	}
	if release, err = s.ClaimKey(key, kind); err != nil {
		return key, nil, fault.Blame(field, err)
	}
	if _, err = s.admit(ctx, field, pub, kind); err != nil { // what was certified before the claim is known now
		release()
		return key, nil, err
	}
	return key, release, nil
}

// ClaimKey keeps requests from certifying a key for another kind of certificate until
// release. Conflict when one is about to.
func (s *Service) ClaimKey(key cert.Fingerprint, kind string) (release func(), err error) {
	if certifiesCA(kind) {
		kind = profile.KindSubCA
	}
	if !s.uses.take(key, kind) {
		return nil, fault.New(fault.Conflict, "another request is getting a certificate of another kind for the key; make a new key")
	}
	return func() { s.uses.release(key) }, nil
}

// checkHolder compares a key with those of the issuers of this mount.
func (s *Service) checkHolder(ctx context.Context, key cert.Fingerprint, kind string) error {
	if err := s.Issuers.CheckKey(ctx, key); err != nil {
		return err
	}
	if certifiesCA(kind) {
		return nil // a CA is renewed and cross-signed with its own key
	}
	if id, ok := s.Issuers.KeyHolder(key); ok {
		return fault.New(fault.Conflict, "the public key is that of issuer %s; a CA key is never certified for another use", id)
	}
	return nil
}

// CheckPast is the part of the gate that asks the ledger: it refuses a key that was
// revoked as compromised, and one that has a certificate of another kind which is still
// in force. Unavailable while the ledger cannot be loaded.
func (s *Service) CheckPast(ctx context.Context, key cert.Fingerprint, kind string) error {
	if err := s.loaded(ctx); err != nil {
		return err
	}
	compromised, err := s.Ledger.Compromised(key)
	if err != nil {
		return err
	}
	if compromised != "" {
		return fault.New(fault.Conflict, "the key was revoked as compromised with certificate %s; make a new key", compromised)
	}
	profiles, err := s.Ledger.KeyProfiles(key)
	if err != nil {
		return err
	}
	for _, name := range profiles {
		had, err := s.kindOf(ctx, name)
		if err != nil {
			return err
		}
		if had != kind && !(certifiesCA(had) && certifiesCA(kind)) {
			return fault.New(fault.Conflict,
				"the key has a certificate of profile %s (%s) and gets none of another kind (%s) while that is in force; make a new key", name, had, kind)
		}
	}
	return nil
}

// loaded waits until the ledger has its rows.
func (s *Service) loaded(ctx context.Context) error {
	if s.Ledger.Loaded() {
		return nil
	}
	if err := s.Ledger.Load(ctx); err != nil {
		return fault.New(fault.Unavailable, "the history of the key cannot be read; ask again in a moment: %w", err)
	}
	return nil
}

func certifiesCA(kind string) bool { return kind == profile.KindSubCA || kind == profile.KindRoot }

// kindOf returns the kind of the profile under which a certificate was issued. What is
// not a stored profile is a role without one, or a CA whose request spelled it out.
func (s *Service) kindOf(ctx context.Context, name string) (string, error) {
	base, _, _ := strings.Cut(name, "@")
	switch {
	case base == profile.SpelledSubCA:
		return profile.KindSubCA, nil
	case base == profile.SpelledRoot:
		return profile.KindRoot, nil
	case strings.HasPrefix(name, "role:"):
		return profile.KindLeaf, nil
	}
	known, _ := s.kinds.Load(name)
	if kind, ok := known.(string); ok {
		return kind, nil
	}
	compiled, err := s.Catalog.Issued(ctx, name)
	switch {
	case fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound):
		return profile.KindLeaf, nil
	case err != nil:
		return "", err
	}
	s.kinds.Store(name, compiled.Kind()) // a version never changes
	return compiled.Kind(), nil
}

// checkParent refuses an issuer whose certificate a CA of this mount has revoked or
// suspended, whatever its state says: its key may have come while that happened (ca-4).
// Rows name 64 bits of a key; with the serial number and the end they are enough.
func (s *Service) checkParent(parent *issuer.Issuer) error {
	if err := parent.CheckUse(issuer.Issuing); err != nil {
		return err
	}
	row, found, err := s.Ledger.Row(parent.Serial())
	if fault.Is(err, fault.Unavailable) {
		err = nil // while rows load, the state is what is known
	}
	if err != nil || !found || row.RevokedAt.IsZero() {
		return err
	}
	key := parent.Key()
	if row.KeyHash == [8]byte(key[:8]) && row.NotAfter.Equal(parent.Certificate().NotAfter) {
		return fault.New(fault.Denied, "issuer %s is not usable for %s: its certificate %s is revoked or suspended", parent.ID(), issuer.Issuing, parent.Serial())
	}
	return nil
}
