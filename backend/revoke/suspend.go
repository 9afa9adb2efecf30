package revoke

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Suspend revokes the certificate with a serial number for the time being
// (certificateHold, RFC 5280 section 5.3.1), where its profile allows that in words.
// Suspending it again changes nothing; Conflict when it is revoked for good.
func (s *Service) Suspend(ctx context.Context, serial cert.Serial, comment string) (*Result, error) {
	if len(comment) > ledger.MaxComment {
		return nil, fault.Field("comment", "must be at most %d bytes", ledger.MaxComment)
	}
	now := s.config.Now()
	record, changed, err := s.config.Ledger.RevokeIf(ctx, serial, ledger.Revocation{
		At: now, Reason: cert.CertificateHold, Comment: comment,
	}, func(record *ledger.Record) error {
		if err := s.checkIssuer(record); err != nil {
			return err
		}
		if record.Revocation.Final() {
			return fault.New(fault.Conflict, "certificate %s is revoked (%s), which is for good", serial, record.Revocation.Reason)
		}
		allowed, err := s.config.Allows(ctx, record.Profile, cert.CertificateHold)
		if err != nil {
			return fmt.Errorf("asking profile %s: %w", record.Profile, err)
		}
		if !allowed && record.Revocation == nil {
			return fault.New(fault.Denied, "certificate %s cannot be suspended: its profile %s does not list certificateHold in allowed_revocation_reasons", serial, record.Profile)
		}
		return nil
	})
	if err != nil {
		return nil, s.missing(serial, err)
	}
	return s.held(record, changed, cert.CertificateHold, now)
}

// Resume ends the suspension of a certificate: it is as good as before, and the next
// CRL does not list it. Resuming it again changes nothing; Conflict when it is not
// suspended.
func (s *Service) Resume(ctx context.Context, serial cert.Serial) (*Result, error) {
	now := s.config.Now()
	record, changed, err := s.config.Ledger.Resume(ctx, serial, now, s.checkIssuer)
	if err != nil {
		return nil, s.missing(serial, err)
	}
	return s.held(record, changed, cert.RemoveFromCRL, now)
}

// held tells of what changed and answers.
func (s *Service) held(record *ledger.Record, changed bool, reason cert.Reason, now time.Time) (*Result, error) {
	if changed {
		s.config.Changed(record.Issuer, reason)
	}
	recorded, err := x509.ParseCertificate(record.DER)
	if err != nil {
		return nil, fmt.Errorf("parsing record %s: %w", record.Serial, err)
	}
	return &Result{Record: record, Changed: changed, Expired: now.After(recorded.NotAfter)}, nil
}
