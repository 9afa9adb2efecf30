// Package revoke promises that a certificate is revoked only by someone who names
// the right one: by its serial number, by the very certificate, or by proof of its
// private key; for a reason that its profile allows; once, with the same answer ever
// after.
package revoke

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Config says what a Service works on.
type Config struct {
	Ledger *ledger.Ledger
	// Changed is told of each new revocation after it is durable.
	Changed func(issuer string, reason cert.Reason)
	// IsIssuer reports whether a serial number is that of an issuer of the mount,
	// which has a revocation of its own.
	IsIssuer func(serial cert.Serial) bool
	// Allows reports whether a profile, name@version, allows a reason.
	Allows func(ctx context.Context, profile string, reason cert.Reason) (bool, error)
	Now    func() time.Time
}

// Service revokes certificates of one mount.
type Service struct{ Config }

// New returns a service that has touched nothing.
func New(config Config) *Service { return &Service{config} }

// Request says why a certificate is revoked.
type Request struct {
	Reason cert.Reason
	// InvalidityAt is when the certificate is known or suspected to have become
	// invalid (RFC 5280 section 5.3.2); zero when it is not stated.
	InvalidityAt time.Time
	Comment      string
}

// Result is the revocation as it stands, of this call or of an earlier one.
type Result struct {
	Record  *ledger.Record
	Changed bool // false: it was revoked before
	Expired bool // the certificate has ended anyway
}

// BySerial revokes the certificate with a serial number. NotFound when the mount
// never issued it.
func (s *Service) BySerial(ctx context.Context, serial cert.Serial, request Request) (*Result, error) {
	return s.revoke(ctx, serial, request, nil)
}

// ByCertificate revokes the certificate that the text holds, PEM or DER. It must be
// the one on record to the last octet: a forged one with a serial of ours names
// nothing (rev-1).
func (s *Service) ByCertificate(ctx context.Context, text []byte, request Request) (*Result, error) {
	given, err := parseOne(text)
	if err != nil {
		return nil, err
	}
	return s.revoke(ctx, cert.SerialOf(given.SerialNumber), request, func(recorded *x509.Certificate) error {
		if !slices.Equal(recorded.Raw, given.Raw) {
			return fault.Field("certificate", "is not the certificate that was issued with serial number %s", cert.SerialOf(given.SerialNumber))
		}
		return nil
	})
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

// revoke checks and records. Reading the record for the checks costs a get beside
// the ledger's own, so it is read only when a check needs the certificate; what the
// profile allows is known from the row in memory.
func (s *Service) revoke(ctx context.Context, serial cert.Serial, request Request, proof func(*x509.Certificate) error) (*Result, error) {
	if err := s.checkRequest(request); err != nil {
		return nil, err
	}
	if s.IsIssuer(serial) {
		return nil, fault.Field("serial_number", "%s is an issuer of this mount; revoke it with issuer/:ref/revoke", serial)
	}
	if proof != nil {
		if err := s.prove(ctx, serial, proof); err != nil {
			return nil, err
		}
	}
	if err := s.checkReason(ctx, serial, request.Reason); err != nil {
		return nil, err
	}
	record, changed, err := s.Ledger.Revoke(ctx, serial, ledger.Revocation{
		At: s.Now().UTC().Truncate(time.Second), Reason: request.Reason, InvalidityAt: request.InvalidityAt, Comment: request.Comment,
	})
	if err != nil {
		return nil, err
	}
	if changed {
		s.Changed(record.Issuer, request.Reason)
	}
	return &Result{Record: record, Changed: changed, Expired: s.expired(record)}, nil
}

func (s *Service) checkRequest(request Request) error {
	switch {
	case !request.Reason.Known():
		return fault.Field("reason", "is not a reason of RFC 5280")
	case request.Reason == cert.RemoveFromCRL:
		return fault.Field("reason", "removeFromCRL ends a suspension and revokes nothing")
	case request.Reason == cert.CertificateHold:
		return fault.Field("reason", "certificateHold is a suspension, which this release does not have; choose a final reason")
	case request.InvalidityAt.After(s.Now()):
		return fault.Field("invalidity_date", "must not be in the future")
	case len(request.Comment) > ledger.MaxComment:
		return fault.Field("comment", "must be at most %d octets", ledger.MaxComment)
	}
	return nil
}

func (s *Service) prove(ctx context.Context, serial cert.Serial, proof func(*x509.Certificate) error) error {
	record, err := s.Ledger.Get(ctx, serial)
	if err != nil {
		return err
	}
	recorded, err := x509.ParseCertificate(record.DER)
	if err != nil {
		return fmt.Errorf("parsing record %s: %w", serial, err)
	}
	return proof(recorded)
}

// checkReason asks the profile. A row that is revoked already is let through, so
// that a second revocation answers like the first; while rows still load, the record
// is asked instead.
func (s *Service) checkReason(ctx context.Context, serial cert.Serial, reason cert.Reason) error {
	var profile string
	row, found, err := s.Ledger.Row(serial)
	switch {
	case fault.Is(err, fault.Unavailable):
		record, err := s.Ledger.Get(ctx, serial)
		if err != nil {
			return err
		}
		profile = record.Profile
	case err != nil:
		return err
	case !found || !row.RevokedAt.IsZero():
		return nil // the ledger answers
	default:
		profile = row.Profile
	}
	allowed, err := s.Allows(ctx, profile, reason)
	if err != nil {
		return err
	}
	if !allowed {
		return fault.Field("reason", "%s is not allowed by profile %s (allowed_revocation_reasons)", reason, profile)
	}
	return nil
}

func (s *Service) expired(record *ledger.Record) bool {
	c, err := x509.ParseCertificate(record.DER)
	return err == nil && s.Now().After(c.NotAfter)
}
