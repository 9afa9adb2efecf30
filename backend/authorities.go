package backend

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

// live is issuer.Config.Live.
func (b *Backend) live(ctx context.Context, issuers []string) (issuer.Live, error) {
	if err := b.loadLedger(ctx); err != nil {
		return issuer.Live{}, err
	}
	rows, err := b.Ledger.IssuedBy(issuers...)
	if err != nil {
		return issuer.Live{}, err
	}
	now, live := b.now(), issuer.Live{}
	for row := range rows {
		// Responders answer for the others: nobody asks about them (id-pkix-ocsp-nocheck).
		if !now.Before(row.NotAfter) || revoke.IsResponder(&row) {
			continue
		}
		live.Count++
		if row.NotAfter.After(live.Until) {
			live.Until = row.NotAfter
		}
	}
	return live, nil
}

// isRevoked is issuer.Config.Revoked.
func (b *Backend) isRevoked(ctx context.Context, certificate *x509.Certificate) (bool, error) {
	if err := b.loadLedger(ctx); err != nil {
		return false, err
	}
	row, found, err := b.Ledger.Row(cert.SerialOf(certificate.SerialNumber))
	if err != nil || !found || row.RevokedAt.IsZero() || row.Unstored {
		return false, err
	}
	record, err := b.Ledger.Get(ctx, row.Serial)
	if err != nil {
		return false, fmt.Errorf("reading certificate %s: %w", row.Serial, err)
	}
	return bytes.Equal(record.DER, certificate.Raw), nil // another CA may use the number (id-1)
}

// recorded reports whether a certificate of some issuers is on record that has not
// expired, beside those of responders.
func (b *Backend) recorded(issuers []string) (bool, error) {
	rows, err := b.Ledger.IssuedBy(issuers...)
	if err != nil {
		return false, err
	}
	now := b.now()
	for row := range rows {
		if now.Before(row.NotAfter) && !revoke.IsResponder(&row) {
			return true, nil
		}
	}
	return false, nil
}

// DeleteIssuer removes an issuer from what is listed and issues. Relying parties miss
// nothing while certificates of its CA live: see issuer.Set.Delete. Its key stays.
func (b *Backend) DeleteIssuer(ctx context.Context, ref string, options issuer.DeleteOptions) (issuer.Deletion, error) {
	done, err := b.Issuers.Delete(ctx, ref, options)
	if err == nil && done.Gone {
		// If we crash here, a run of tidy_expired_issuers removes the rest.
		err = errors.Join(b.CRL.Forget(ctx, done.CA), b.OCSP.Forget(ctx, done.CA))
	}
	return done, err
}

// purgeIssuers removes deleted issuers that nobody needs any more, and what other rooms
// keep for their CAs.
//
// If we crash in between, a run of tidy_expired_issuers removes the rest.
func (b *Backend) purgeIssuers(ctx context.Context) error {
	if !b.Ledger.Loaded() {
		return nil
	}
	gone, err := b.Issuers.Purge(ctx, b.recorded)
	failures := []error{err}
	for _, ca := range gone {
		b.background.log.Info("removing what is left of a CA that was deleted", "ca", ca)
		failures = append(failures, b.CRL.Forget(ctx, ca), b.OCSP.Forget(ctx, ca))
	}
	return errors.Join(failures...)
}

// settleIssuers finds rows of issuers that storage has forgotten, because an earlier
// release removed their records with the issuers, and gives them to an issuer of the CA
// that signed the certificates, if that is here again. So its CRL and OCSP have what the
// CA has revoked. It does nothing once every row has an issuer.
func (b *Backend) settleIssuers(ctx context.Context) error {
	if !b.Ledger.Loaded() {
		return nil
	}
	b.settled.mu.Lock()
	defer b.settled.mu.Unlock()
	issuers, err := b.Issuers.All(ctx)
	if err != nil || slices.EqualFunc(issuers, b.settled.issuers, func(i *issuer.Issuer, id string) bool { return i.ID() == id }) {
		return err
	}
	named, err := b.Ledger.Issuers()
	if err != nil {
		return err
	}
	for id, sample := range named {
		known, err := b.Issuers.Current(ctx, id)
		if err != nil {
			return err
		}
		if known != nil || sample == "" {
			continue
		}
		record, err := b.Ledger.Get(ctx, sample)
		if err != nil {
			return fmt.Errorf("reading a certificate of issuer %s: %w", id, err)
		}
		issued, err := x509.ParseCertificate(record.DER)
		if err != nil {
			return fmt.Errorf("reading certificate %s: %w", sample, err)
		}
		for _, heir := range issuers {
			if !signed(heir, issued) {
				continue
			}
			// Edges know the rows under the old id: with new sequence numbers they fetch them
			// again. If we crash before the issuer takes over, all of it is done again.
			if err := b.Ledger.Touch(ctx, id); err != nil {
				return fmt.Errorf("renumbering the certificates of issuer %s: %w", id, err)
			}
			if err := b.Issuers.TakeOver(ctx, heir.ID(), id); err != nil {
				return fmt.Errorf("giving the certificates of issuer %s to issuer %s: %w", id, heir.ID(), err)
			}
			b.background.log.Info("certificates of a deleted issuer belong to an issuer of its CA again", "deleted", id, "issuer", heir.ID())
			b.CRL.Revoked(heir.ID(), cert.CACompromise) // at once: the lists lack them
			break
		}
	}
	b.settled.issuers = b.settled.issuers[:0]
	for _, i := range issuers {
		b.settled.issuers = append(b.settled.issuers, i.ID())
	}
	return nil
}

// settled is what settleIssuers knows.
type settled struct {
	mu      sync.Mutex // one at a time
	issuers []string   // ids of those that there were when it ended; guarded by mu
}

func (b *Backend) now() time.Time { return b.background.now() }
