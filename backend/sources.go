package backend

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// crlSource shows the issuers to the crl room.
type crlSource struct{ b *Backend }

// Authority implements crl.Source.
func (s crlSource) Authority(ctx context.Context, id string) (*sign.Authority, error) {
	return s.b.authority(ctx, id, issuer.CRLSigning)
}

// authority returns an issuer as one that signs what is revoked.
func (b *Backend) authority(ctx context.Context, id string, use issuer.Usage) (*sign.Authority, error) {
	signer, err := b.Issuers.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	algorithm, err := issuer.ParseAlgorithm(signer.Settings().RevocationAlgorithm)
	if err != nil {
		return nil, err
	}
	return b.Issuers.Authority(ctx, signer, use, algorithm)
}

// Publishers implements crl.Source.
func (s crlSource) Publishers(ctx context.Context) ([]string, error) {
	all, err := s.b.Issuers.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, i := range all {
		if i.May(issuer.CRLSigning) {
			ids = append(ids, i.ID())
		}
	}
	return ids, nil
}

// Points implements crl.Source.
func (s crlSource) Points(ctx context.Context, id string) (crl.Points, error) {
	i, err := s.b.Issuers.Get(ctx, id)
	if err != nil {
		return crl.Points{}, err
	}
	urls, err := s.b.Issuers.URLsFor(ctx, i)
	if fault.Is(err, fault.Invalid) {
		// Nothing is issued with such URLs, and a mistake in them must not stop the CRL.
		return crl.Points{}, nil
	}
	return crl.Points{CRL: urls.CRLDistributionPoints, Delta: urls.DeltaCRLs}, err
}

// Retention implements crl.Source. What is not a stored profile keeps nothing.
func (s crlSource) Retention(ctx context.Context, profileName string) (time.Duration, error) {
	compiled, err := s.b.issuedUnder(ctx, profileName)
	if err != nil || compiled == nil {
		return 0, err
	}
	return compiled.CRLRetention(), nil
}

// issuedUnder returns the profile version that a certificate remembers, nil for what is
// not a stored profile: a role without one, a CA certificate.
func (b *Backend) issuedUnder(ctx context.Context, profileName string) (*profile.Profile, error) {
	if strings.HasPrefix(profileName, "role:") {
		return nil, nil
	}
	compiled, err := b.Catalog.Issued(ctx, profileName)
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return compiled, err
}

// profileMoved lets issuers follow a profile that was moved from a reserved name. Under
// a preset's name they permitted the stored profile alone. The other reserved names are
// also those of CA certificates without a profile, which stay permitted.
func (b *Backend) profileMoved(ctx context.Context, from, to string) error {
	if _, preset := profile.Preset(from); preset {
		return b.Issuers.MoveProfile(ctx, from, []string{to})
	}
	return b.Issuers.MoveProfile(ctx, from, []string{from, to})
}

// ocspSource shows the issuers to the ocsp room.
type ocspSource struct{ b *Backend }

// Issuers implements ocsp.Source.
func (s ocspSource) Issuers() []ocsp.Issuer {
	loaded := s.b.Issuers.Loaded()
	if loaded == nil {
		return nil
	}
	asked := make([]ocsp.Issuer, 0, len(loaded))
	for _, i := range loaded {
		if i.May(issuer.OCSPSigning) {
			asked = append(asked, ocsp.Issuer{ID: i.ID(), DER: i.Certificate().Raw})
		}
	}
	return asked
}

// Delegate implements ocsp.Source.
func (s ocspSource) Delegate(ctx context.Context, issuerID string, pub crypto.PublicKey, validity time.Duration) (*x509.Certificate, error) {
	return s.b.Issue.Delegate(ctx, issuerID, pub, validity, role.Identity{})
}

// Direct implements ocsp.Source.
func (s ocspSource) Direct(ctx context.Context, issuerID string) (*sign.Authority, error) {
	return s.b.authority(ctx, issuerID, issuer.OCSPSigning)
}

// issuers returns the issuers of this mount; right after the start it loads them,
// because an answer without them would be about no issuer.
func (b *Backend) issuers() []*issuer.Issuer {
	all, err := b.Issuers.List(b.background.ctx)
	if err != nil {
		b.background.log.Warn("loading issuers failed", "error", err)
	}
	return all
}

// isIssuer reports whether a serial number is that of an issuer of this mount.
func (b *Backend) isIssuer(serial cert.Serial) bool {
	for _, i := range b.issuers() {
		if i.Serial() == serial && i.State() != issuer.Revoked {
			return true
		}
	}
	return false
}

// signedBy returns the issuer whose key in this mount signed a certificate.
func (b *Backend) signedBy(c *x509.Certificate) (string, bool) {
	for _, i := range b.issuers() {
		if i.KeyID() != "" && c.CheckSignatureFrom(i.Certificate()) == nil {
			return i.ID(), true
		}
	}
	return "", false
}

// allowsReason reports whether the profile version under which a certificate was
// issued lets it be revoked for the reason. What is not a stored profile (a role
// without one, a CA certificate) allows every reason but certificateHold: that only a
// profile allows, in words.
func (b *Backend) allowsReason(ctx context.Context, profileName string, reason cert.Reason) (bool, error) {
	compiled, err := b.issuedUnder(ctx, profileName)
	if err != nil {
		return false, err
	}
	if compiled == nil {
		return reason != cert.CertificateHold, nil
	}
	return compiled.AllowsReason(reason), nil
}

// ImportCRL publishes the CRL of an issuer that signs its lists elsewhere, such as an
// offline root. Conflict for an issuer whose lists are made here.
func (b *Backend) ImportCRL(ctx context.Context, ref string, raw []byte) (crl.Head, error) {
	i, err := b.Issuers.Get(ctx, ref)
	if err != nil {
		return crl.Head{}, err
	}
	if i.Certificate() == nil || i.KeyID() != "" {
		return crl.Head{}, fault.New(fault.Conflict, "the key of issuer %s is in this mount, which makes its CRL: only that of a CA whose key is elsewhere is imported", i.ID())
	}
	return b.CRL.Import(ctx, i.ID(), i.Certificate(), raw)
}

// Published makes a new issuer known to relying parties: its first CRL and its OCSP
// responder. A failure leaves the issuer in place, is returned for the caller to
// warn of, and is mended by the next Tick.
func (b *Backend) Published(ctx context.Context, ids []string) error {
	var problems []error
	for _, id := range ids {
		i, err := b.Issuers.Get(ctx, id)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if !i.May(issuer.CRLSigning) {
			continue
		}
		if err := b.loadLedger(ctx); err != nil {
			problems = append(problems, err)
			continue
		}
		if _, err := b.CRL.Rebuild(ctx, id); err != nil {
			problems = append(problems, err)
		}
	}
	if err := b.OCSP.Prepare(ctx); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// RevokeIssuer ends an issuer for good, with every other one that has its key. Of each
// whose certificate a CA of this mount signed it revokes the certificate too, so that
// the CA's CRL lists it. For the others it returns a warning that says who must.
func (b *Backend) RevokeIssuer(ctx context.Context, ref string) (revoked *issuer.Issuer, warnings []string, err error) {
	ended, err := b.Issuers.Revoke(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range ended {
		if i != ended[0] {
			warnings = append(warnings, fmt.Sprintf("Issuer %s has the same key and was revoked too.", i.ID()))
		}
		recorded, err := b.revokeCertificate(ctx, i)
		if err != nil {
			return nil, nil, err
		}
		if !recorded {
			warnings = append(warnings, fmt.Sprintf("Certificate %s of issuer %s was signed outside this mount: revoke it there too, so that the CRL of its CA lists it.", i.Serial(), i.ID()))
		}
	}
	return ended[0], warnings, nil
}

// revokeCertificate revokes the certificate of a revoked issuer in the ledger, and
// reports whether it is there.
func (b *Backend) revokeCertificate(ctx context.Context, i *issuer.Issuer) (recorded bool, err error) {
	_, changed, err := b.Ledger.Revoke(ctx, i.Serial(), ledger.Revocation{At: i.RevokedAt(), Reason: cert.CACompromise})
	switch {
	case fault.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, err
	case changed:
		if signer, err := b.Issuers.Get(ctx, parentID(i)); err == nil {
			b.CRL.Revoked(signer.ID(), cert.CACompromise)
		}
	}
	return true, nil
}

// DeleteIssuer removes an issuer and what other rooms keep for it: its CRLs and its
// OCSP responder with the key. Its own key stays. Otherwise it returns a warning that
// says what stayed behind, and was not worth an error: the issuer is gone.
func (b *Backend) DeleteIssuer(ctx context.Context, ref string) (wasDefault bool, warning string, err error) {
	deleted, err := b.Issuers.Get(ctx, ref)
	if err != nil {
		return false, "", err
	}
	if wasDefault, err = b.Issuers.Delete(ctx, deleted.ID()); err != nil {
		return false, "", err
	}
	// If we crash here, a run of tidy_expired_issuers removes the rest.
	if err := errors.Join(b.CRL.Forget(ctx, deleted.ID()), b.OCSP.Forget(ctx, deleted.ID())); err != nil {
		b.background.log.Warn("removing what belongs to a deleted issuer", "issuer", deleted.ID(), "error", err)
		return wasDefault, "The issuer is deleted, but not all of its CRLs and its OCSP responder: a run of tidy with tidy_expired_issuers removes the rest.", nil
	}
	return wasDefault, "", nil
}

// parentID returns the id of the issuer above, "" when the mount does not know it.
func parentID(i *issuer.Issuer) string {
	if parent := i.Parent(); parent != nil {
		return parent.ID()
	}
	return ""
}

// Invalidate drops what was derived from a storage key that another node changed.
func (b *Backend) Invalidate(key string) {
	row, _ := layout.Find(key)
	switch row.Owner {
	case "issuer", "keyring":
		b.Ring.Invalidate()
		b.Issuers.Invalidate()
	case "catalog":
		b.Catalog.Invalidate()
	case "keypool":
		b.Keys.Invalidate()
	case "crl":
		b.CRL.Invalidate(key)
	case "ocsp":
		b.OCSP.Invalidate(key)
	case "places":
		b.Places.Invalidate(key)
	case "publisher":
		b.Publishers.Invalidate(key)
	case "tidy":
		b.Tidy.Invalidate(key)
	case "revoke":
		b.Revoke.Bulk.Invalidate()
	}
}
