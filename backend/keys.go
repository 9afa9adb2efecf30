package backend

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// ImportKey stores a private key in PEM for CAs of this mount after it passed the gate
// for their keys. One that is there already is returned unchanged, existing true.
func (b *Backend) ImportKey(ctx context.Context, name string, text []byte) (key *keyring.Key, existing bool, err error) {
	if err := b.Issuers.AdmitImport(ctx, text); err != nil {
		return nil, false, err
	}
	return b.Ring.Import(ctx, name, text)
}

// AdoptKey records a key that is in a token for CAs of this mount after it passed the
// gate for their keys.
func (b *Backend) AdoptKey(ctx context.Context, ask keyring.Adoption) (*keyring.Key, keyring.Adopted, error) {
	ask.Admit = b.Issuers.AdmitKey
	key, did, err := b.Ring.Adopt(ctx, ask)
	if did == keyring.MovedKey {
		b.Issuers.Invalidate() // its authorities look for the key where it was
	}
	return key, did, err
}

// KeyDeletion asks for the end of a key.
type KeyDeletion struct {
	Ref string // id or name of the key
	// Force deletes a key although certificates that it signed have not expired.
	Force bool
}

// DeleteKey removes a key from the mount, and the pending issuers that wait for a
// certificate of it. It returns warnings that say what else is gone. Conflict while an
// issuer has the key, whatever is asked, and without Force while certificates that the
// key signed have not expired, though their issuer was deleted: nobody could make a CRL
// or an OCSP response for them (ca-6). NotFound when there is no such key.
func (b *Backend) DeleteKey(ctx context.Context, ask KeyDeletion) (warnings []string, err error) {
	key, err := b.Ring.Get(ctx, ask.Ref)
	if err != nil {
		return nil, err
	}
	count, last, err := b.signedWith(ctx, key)
	if err != nil {
		return nil, err
	}
	if count > 0 {
		cost := fmt.Sprintf("the key signed certificates that have not expired (%d, the last until %s): without it there is no CRL and no OCSP response for them",
			count, last.UTC().Format(time.RFC3339))
		if !ask.Force {
			return nil, fault.FieldOf(fault.Conflict, "key_ref", "%s. Import the CA certificate again to go on, or delete the key with force=true", cost)
		}
		warnings = append(warnings, "The key was deleted by force: "+cost+".")
	}
	pending, err := b.Issuers.DeleteKey(ctx, key.ID)
	if err != nil {
		return nil, err
	}
	for _, id := range pending {
		warnings = append(warnings, fmt.Sprintf("Pending issuer %s was deleted with its key.", id))
	}
	if key.Token != "" {
		warnings = append(warnings, fmt.Sprintf("The key stays in token %s under CKA_ID %x; keys/import/kms adopts it again.", key.Token, key.TokenID))
	}
	return warnings, nil
}

// signedWith counts the certificates that have not expired of issuers which were
// deleted and had this key, and returns when the last of them expires. Rows do not name
// keys of issuers: of each deleted issuer one certificate tells by its signature.
// Responders' do not count: nobody asks for their status (RFC 6960 section 4.2.2.2.1).
// Certificates without a record count, because nothing shows that the key did not sign
// them.
func (b *Backend) signedWith(ctx context.Context, key *keyring.Key) (count int, last time.Time, err error) {
	pub, err := key.Public()
	if err != nil {
		return 0, last, err
	}
	if err := b.loadLedger(ctx); err != nil {
		return 0, last, err
	}
	rows, err := b.Ledger.Rows("")
	if err != nil {
		return 0, last, err
	}
	issuers, err := b.Issuers.List(ctx)
	if err != nil {
		return 0, last, err
	}
	known, ours, now := map[string]bool{"": true}, map[string]bool{}, b.Issuers.Now()
	for _, i := range issuers {
		if i.KeyID() == key.ID {
			return 0, last, nil // the deletion is refused for that
		}
		known[i.ID()] = true
	}
	for row := range rows {
		if known[row.Issuer] || row.NotAfter.Before(now) || strings.HasPrefix(row.Profile, "ocsp-responder@") {
			continue
		}
		signed, judged := ours[row.Issuer]
		if !judged && !row.Unstored {
			if signed, err = b.wasSigned(ctx, &row, pub); err != nil {
				return 0, last, err
			}
			ours[row.Issuer] = signed
		}
		if signed || !judged && row.Unstored {
			count++
			if row.NotAfter.After(last) {
				last = row.NotAfter
			}
		}
	}
	return count, last, nil
}

// wasSigned reports whether a key signed the certificate on record. What cannot be read
// counts as signed.
func (b *Backend) wasSigned(ctx context.Context, row *ledger.Row, pub crypto.PublicKey) (bool, error) {
	record, err := b.Ledger.Get(ctx, row.Serial)
	if fault.Is(err, fault.NotFound) || err == nil && len(record.DER) == 0 {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	parsed, err := x509.ParseCertificate(record.DER)
	if err != nil {
		return false, fmt.Errorf("reading certificate %s: %w", row.Serial, err)
	}
	signer := &x509.Certificate{PublicKey: pub}
	if signer.PublicKeyAlgorithm, err = algorithmOf(pub); err != nil {
		return false, err
	}
	return signer.CheckSignature(parsed.SignatureAlgorithm, parsed.RawTBSCertificate, parsed.Signature) == nil, nil
}

// algorithmOf returns the public key algorithm as certificates name it.
func algorithmOf(pub crypto.PublicKey) (x509.PublicKeyAlgorithm, error) {
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return 0, err
	}
	return map[cert.KeyType]x509.PublicKeyAlgorithm{cert.RSA: x509.RSA, cert.EC: x509.ECDSA, cert.Ed25519: x509.Ed25519}[spec.Type], nil
}
