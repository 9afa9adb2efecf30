// Package revoke promises that a certificate is revoked only by someone who names
// the right one: by its serial number, by the very certificate, or by proof of its
// private key; for a reason that its profile allows; once, with the same answer ever
// after. Whatever is named and proven, it costs one get and at most two puts, and many
// certificates of one page, named by a filter, cost no more. A suspension, where the
// profile allows one, is the only revocation that ends.
package revoke

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Config says what a Service works on.
type Config struct {
	Ledger *ledger.Ledger
	// Changed is told of each new revocation after it is durable, and of the end of a
	// suspension, whose reason is removeFromCRL.
	Changed func(issuer string, reason cert.Reason)
	Issuers Issuers
	// SignedBy returns the id of the issuer whose key in this mount signed a certificate.
	SignedBy func(certificate *x509.Certificate) (issuer string, ours bool)
	// Allows reports whether a profile, name@version, allows a reason.
	Allows func(ctx context.Context, profile string, reason cert.Reason) (bool, error)
	Now    func() time.Time
}

// Issuers knows the issuers that sign in the mount: they have a revocation of their own.
type Issuers interface {
	// HasCertificate reports whether a certificate, in DER, is that of such an issuer.
	HasCertificate(der []byte) bool
	// HasRow reports the same of what a row knows: who issued it, and its serial number.
	HasRow(issuer string, serial cert.Serial) bool
	// HasSerial reports whether such an issuer has the serial number, whoever issued it:
	// another CA may have given it to another certificate.
	HasSerial(serial cert.Serial) bool
	// SameCA reports whether two issuers, given by id, are certificates of one CA.
	SameCA(issuer, other string) bool
}

// Service revokes certificates of one mount.
type Service struct{ config Config }

// New returns a service that has touched nothing. All of the config must be set.
func New(config Config) *Service { return &Service{config} }

// Request says why a certificate is revoked.
type Request struct {
	Reason cert.Reason `json:"reason"`
	// InvalidityAt is when the certificate is known or suspected to have become
	// invalid (RFC 5280 section 5.3.2); zero when it is not stated.
	InvalidityAt time.Time `json:"invalidity_at"`
	Comment      string    `json:"comment,omitempty"`
}

// Result is the certificate as it stands, by this call or by an earlier one.
type Result struct {
	Record  *ledger.Record
	Changed bool // false: it was so before
	// Expired: the certificate had ended by itself. That is no error but worth a
	// warning: signatures made before are judged by the reason and the invalidity
	// date, but the CRLs that the certificate names need not list it any more (RFC
	// 5280 section 3.3).
	Expired bool
}

// BySerial revokes the certificate with a serial number. NotFound when the mount
// never issued it.
func (s *Service) BySerial(ctx context.Context, serial cert.Serial, request Request) (*Result, error) {
	return s.revoke(ctx, serial, request, anyone)
}

// ByCertificate revokes the certificate that the text holds, PEM or DER. It must be
// the one on record to the last octet: a forged one with a serial of ours names
// nothing (rev-1).
//
// A certificate that was issued without a record (no_store) is known by the
// signature of an issuer of the mount, and recorded now.
func (s *Service) ByCertificate(ctx context.Context, text []byte, request Request) (*Result, error) {
	given, err := parseOne(text)
	if err != nil {
		return nil, err
	}
	serial := cert.SerialOf(given.SerialNumber)
	same := func(recorded *x509.Certificate) error {
		if !bytes.Equal(recorded.Raw, given.Raw) {
			return fault.Field("certificate", "is not the certificate that was issued with serial number %s", serial)
		}
		return nil
	}
	result, err := s.revoke(ctx, serial, request, same)
	if !fault.Is(err, fault.NotFound) {
		return result, err
	}
	issuer, ours := s.config.SignedBy(given)
	if !ours {
		return nil, err
	}
	if err := s.adopt(ctx, given, issuer); err != nil {
		return nil, err
	}
	return s.revoke(ctx, serial, request, same)
}

// adopt records a certificate that was issued without a record, with what its row
// still knows.
func (s *Service) adopt(ctx context.Context, given *x509.Certificate, issuer string) error {
	record := ledger.Record{DER: given.Raw, Issuer: issuer, IssuedAt: given.NotBefore}
	if row, found, err := s.config.Ledger.Row(cert.SerialOf(given.SerialNumber)); err == nil && found {
		record.Role, record.Profile, record.Owner = row.Role, row.Profile, row.Owner
	}
	if err := s.config.Ledger.Adopt(ctx, record); err != nil {
		return fmt.Errorf("recording certificate %s: %w", cert.SerialOf(given.SerialNumber), err)
	}
	return nil
}

// ByKey revokes a certificate for whoever holds its private key, given as PEM. The
// key is compared and forgotten; it appears in no message.
func (s *Service) ByKey(ctx context.Context, serial cert.Serial, privateKey []byte, request Request) (*Result, error) {
	key, err := keyring.ParsePrivateKey(privateKey)
	if err != nil {
		return nil, fault.Field("private_key", "must be one private key in PEM: PKCS#8, PKCS#1 or SEC 1")
	}
	return s.revoke(ctx, serial, request, func(recorded *x509.Certificate) error {
		if !cert.Equal(key.Public(), recorded.PublicKey) {
			return fault.Field("private_key", "is not the key of certificate %s", serial)
		}
		return nil
	})
}

// SerialOf returns the serial number of the certificate that the text holds, PEM or
// DER.
func SerialOf(text []byte) (cert.Serial, error) {
	given, err := parseOne(text)
	if err != nil {
		return "", err
	}
	return cert.SerialOf(given.SerialNumber), nil
}

func parseOne(text []byte) (*x509.Certificate, error) {
	certs, others, err := cert.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 || len(others) != 0 {
		return nil, fault.Field("certificate", "must be one certificate and nothing else")
	}
	return certs[0], nil
}

// anyone is the proof of who names a certificate by its serial number: the right to
// do so is Vault's policy.
func anyone(*x509.Certificate) error { return nil }

// revoke checks and records. What the record must say is checked on the record that
// is about to be changed, so that nothing comes between.
func (s *Service) revoke(ctx context.Context, serial cert.Serial, request Request, proof func(*x509.Certificate) error) (*Result, error) {
	now := s.config.Now()
	if err := request.check(now); err != nil {
		return nil, err
	}
	var recorded *x509.Certificate
	record, changed, err := s.config.Ledger.RevokeIf(ctx, serial, ledger.Revocation{
		At: now, Reason: request.Reason, InvalidityAt: request.InvalidityAt, Comment: request.Comment,
	}, func(record *ledger.Record) (err error) {
		if recorded, err = x509.ParseCertificate(record.DER); err != nil {
			return fmt.Errorf("parsing record %s: %w", serial, err)
		}
		if err := proof(recorded); err != nil {
			return err
		}
		if err := s.checkIssuer(record); err != nil {
			return err
		}
		return s.checkReason(ctx, record, request.Reason)
	})
	if err != nil {
		return nil, s.missing(serial, err)
	}
	if changed {
		// Lists follow the reason on record: an earlier call may have stored it and lost
		// its answer.
		s.config.Changed(record.Issuer, record.Revocation.Reason)
	}
	return &Result{Record: record, Changed: changed, Expired: now.After(recorded.NotAfter)}, nil
}

// checkIssuer refuses issuers of the mount.
func (s *Service) checkIssuer(record *ledger.Record) error {
	if s.config.Issuers.HasCertificate(record.DER) {
		return ownRevocation(record.Serial)
	}
	return nil
}

// missing is an error about a certificate that is not on record, of an issuer too: its
// certificate was imported.
func (s *Service) missing(serial cert.Serial, err error) error {
	if fault.Is(err, fault.NotFound) && s.config.Issuers.HasSerial(serial) {
		return ownRevocation(serial)
	}
	return err
}

func ownRevocation(serial cert.Serial) error {
	return fault.Field("serial_number", "%s is an issuer of this mount; revoke it with issuer/:ref/revoke", serial)
}

// check refuses what no certificate can be revoked with.
func (r *Request) check(now time.Time) error {
	switch {
	case !r.Reason.Known():
		return fault.Field("reason", "is not a reason of RFC 5280 section 5.3.1")
	case r.Reason == cert.RemoveFromCRL:
		return fault.Field("reason", "removeFromCRL ends a suspension and revokes nothing")
	case r.Reason == cert.CertificateHold:
		return fault.Field("reason", "certificateHold is a suspension: ask for one with suspend, or choose a final reason")
	case r.InvalidityAt.After(now):
		return fault.Field("invalidity_date", "must not be in the future")
	case len(r.Comment) > ledger.MaxComment:
		return fault.Field("comment", "must be at most %d bytes", ledger.MaxComment)
	}
	return nil
}

// checkReason asks the profile, except for a certificate that is revoked for good: that
// is answered like the first time.
func (s *Service) checkReason(ctx context.Context, record *ledger.Record, reason cert.Reason) error {
	if record.Revocation.Final() {
		return nil
	}
	allowed, err := s.config.Allows(ctx, record.Profile, reason)
	if err != nil {
		return fmt.Errorf("asking profile %s: %w", record.Profile, err)
	}
	if !allowed {
		return fault.Field("reason", "%s is not allowed by profile %s (allowed_revocation_reasons)", reason, record.Profile)
	}
	return nil
}
