package backend

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
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

// crlSource shows the CAs to the crl room.
type crlSource struct{ b *Backend }

// CA implements crl.Source.
func (s crlSource) CA(ctx context.Context, issuer string) (string, error) {
	return s.b.Issuers.CAOf(ctx, issuer)
}

// Issuers implements crl.Source.
func (s crlSource) Issuers(ctx context.Context, ca string) ([]string, error) {
	return s.b.Issuers.IDs(ctx, ca)
}

// Authority implements crl.Source.
func (s crlSource) Authority(ctx context.Context, ca string) (*sign.Authority, error) {
	return s.b.authority(ctx, ca, issuer.CRLSigning)
}

// authority returns a CA as one that signs what is revoked.
func (b *Backend) authority(ctx context.Context, ca string, use issuer.Usage) (*sign.Authority, error) {
	signer, err := b.Issuers.Signer(ctx, ca, use)
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
	return s.b.Issuers.CAs(ctx, issuer.CRLSigning)
}

// Points implements crl.Source.
func (s crlSource) Points(ctx context.Context, ca string) (crl.Points, error) {
	members, err := s.b.Issuers.Members(ctx, ca)
	if err != nil {
		return crl.Points{}, err
	}
	var points crl.Points
	for _, i := range members {
		points.AnyKeyID = points.AnyKeyID || !bytes.Equal(i.Certificate().SubjectKeyId, members[0].Certificate().SubjectKeyId)
		urls, err := s.b.Issuers.URLsFor(ctx, i)
		switch {
		case fault.Is(err, fault.Invalid):
			// Nothing is issued with such URLs, and a mistake in them must not stop the CRL.
			continue
		case err != nil:
			return crl.Points{}, err
		}
		points.CRL = appendNew(points.CRL, urls.CRLDistributionPoints)
		points.Delta = appendNew(points.Delta, urls.DeltaCRLs)
	}
	return points, nil
}

// appendNew appends the URLs that are not in a list yet.
func appendNew(list, urls []string) []string {
	for _, url := range urls {
		if !slices.Contains(list, url) {
			list = append(list, url)
		}
	}
	return list
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

// ocspSource shows the CAs to the ocsp room.
type ocspSource struct{ b *Backend }

// Issuers implements ocsp.Source.
func (s ocspSource) Issuers() []ocsp.Issuer {
	loaded := s.b.Issuers.Answering()
	if loaded == nil {
		return nil
	}
	asked := make([]ocsp.Issuer, 0, len(loaded))
	for _, i := range loaded {
		asked = append(asked, ocsp.Issuer{ID: i.CA(), DER: i.Certificate().Raw})
	}
	return asked
}

// Belongs implements ocsp.Source.
func (s ocspSource) Belongs(issuerID, ca string) (bool, error) {
	return s.b.Issuers.Belongs(issuerID, ca)
}

// Former implements ocsp.Source.
func (s ocspSource) Former(ctx context.Context, ca string) ([]string, error) {
	return s.b.Issuers.IDs(ctx, ca)
}

// Delegate implements ocsp.Source.
func (s ocspSource) Delegate(ctx context.Context, ca string, pub crypto.PublicKey, validity time.Duration) (*x509.Certificate, error) {
	signer, err := s.b.Issuers.Signer(ctx, ca, issuer.OCSPSigning)
	if err != nil {
		return nil, err
	}
	return s.b.Issue.Delegate(ctx, signer, pub, validity, role.Identity{})
}

// Direct implements ocsp.Source.
func (s ocspSource) Direct(ctx context.Context, ca string) (*sign.Authority, error) {
	return s.b.authority(ctx, ca, issuer.OCSPSigning)
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

// ownIssuers shows the issuers that sign here to the revoke room.
type ownIssuers struct{ b *Backend }

// HasCertificate implements revoke.Issuers.
func (s ownIssuers) HasCertificate(der []byte) bool {
	return slices.ContainsFunc(s.issuers(), func(i *issuer.Issuer) bool { return bytes.Equal(i.Certificate().Raw, der) })
}

// HasSerial implements revoke.Issuers.
func (s ownIssuers) HasSerial(serial cert.Serial) bool {
	return slices.ContainsFunc(s.issuers(), func(i *issuer.Issuer) bool { return i.Serial() == serial })
}

// HasRow implements revoke.Issuers.
func (s ownIssuers) HasRow(by string, serial cert.Serial) bool {
	return slices.ContainsFunc(s.issuers(), func(i *issuer.Issuer) bool {
		if i.Serial() != serial {
			return false
		}
		if by == "" {
			return cert.SelfIssued(i.Certificate())
		}
		parent := i.Parent()
		if parent == nil {
			return false
		}
		belongs, err := s.b.Issuers.Belongs(by, parent.CA())
		return belongs || err != nil // when in doubt it has a revocation of its own
	})
}

// SameCA implements revoke.Issuers.
func (s ownIssuers) SameCA(id, other string) bool {
	ca, err := s.b.Issuers.CAOf(s.b.background.ctx, id)
	if err != nil {
		return false
	}
	belongs, err := s.b.Issuers.Belongs(other, ca)
	return belongs && err == nil
}

func (s ownIssuers) issuers() []*issuer.Issuer {
	return slices.DeleteFunc(s.b.issuers(), func(i *issuer.Issuer) bool { return i.KeyID() == "" || i.State() == issuer.Revoked })
}

// signedBy returns the issuer, deleted or not, that signed a certificate with a key in
// this mount.
func (b *Backend) signedBy(c *x509.Certificate) (string, bool) {
	all, err := b.Issuers.All(b.background.ctx)
	if err != nil {
		b.background.log.Warn("loading issuers failed", "error", err)
	}
	for _, i := range all {
		if i.KeyID() != "" && signed(i, c) {
			return i.ID(), true
		}
	}
	return "", false
}

// signed reports whether the CA of an issuer signed a certificate. The key alone does not
// tell: it may be that of CAs with other subjects.
func signed(by *issuer.Issuer, c *x509.Certificate) bool {
	return cert.NameKey(c.RawIssuer) == cert.NameKey(by.Certificate().RawSubject) && c.CheckSignatureFrom(by.Certificate()) == nil
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
		i, err := b.Issuers.Published(ctx, id) // one that was deleted may have its key back
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
		if err := b.settleIssuers(ctx); err != nil {
			problems = append(problems, err)
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
			warnings = append(warnings, fmt.Sprintf("Issuer %s (%s) has the same key: its certificate is revoked too.", i.ID(), i.State()))
		}
		recorded, err := b.revokeCertificate(ctx, i, ended[0].RevokedAt())
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
func (b *Backend) revokeCertificate(ctx context.Context, i *issuer.Issuer, at time.Time) (recorded bool, err error) {
	// Another CA may have given the serial number to something else (id-1).
	record, changed, err := b.Ledger.RevokeIf(ctx, i.Serial(), ledger.Revocation{At: at, Reason: cert.CACompromise},
		func(record *ledger.Record) error {
			if !bytes.Equal(record.DER, i.Certificate().Raw) {
				return fault.New(fault.NotFound, "certificate %s is not that of issuer %s", record.Serial, i.ID())
			}
			return nil
		})
	switch {
	case fault.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, err
	case changed && record.Issuer != "":
		b.CRL.Revoked(record.Issuer, cert.CACompromise)
	}
	return true, nil
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
