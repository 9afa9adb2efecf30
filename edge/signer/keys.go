package signer

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// Certifier has keys certified.
type Certifier interface {
	// SignResponder has an issuer certify the key of a PKCS#10 request in PEM as that of
	// an OCSP responder. It records the certificate before it returns.
	SignResponder(ctx context.Context, issuer, csr string) (*x509.Certificate, error)
}

// Config says what Keys work on. A nil Log discards.
type Config struct {
	Certifier Certifier
	Folder    *disk.Folder
	Store     Store
	Log       hclog.Logger
	Now       func() time.Time
}

// Keys are the OCSP signers of an edge, one for each issuer. Prepare is for one
// goroutine, the rest for all.
type Keys struct {
	config  Config
	current atomic.Pointer[map[string]*delegate] // by issuer id; never changed in place
	retry   map[string]attempt                   // of Prepare alone
	loaded  map[string]bool                      // issuers whose record was looked for
	inventory
}

// delegate is a signer with what it was made of. It does not change.
type delegate struct {
	signer    *ocsp.Signer
	notBefore time.Time
	notAfter  time.Time
	serial    cert.Serial
	reference string    // of the key in its Store
	before    *delegate // used until notBefore; nil: none
}

// attempt is how often certifying failed, and when to try again.
type attempt struct {
	failures int
	after    time.Time
}

// record is a delegate as it is on disk. The key is not in it, but for that of a file.
type record struct {
	Certificate []byte `json:"certificate"` // DER
	Key         string `json:"key"`         // reference
}

// New returns keys that have made and read nothing.
func New(config Config) *Keys {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	k := &Keys{config: config, retry: map[string]attempt{}, loaded: map[string]bool{}}
	k.current.Store(&map[string]*delegate{})
	return k
}

func (d *delegate) usable(now time.Time) bool {
	return !now.Before(d.notBefore) && now.Before(d.notAfter)
}

// Signer returns who signs for an issuer now, nil when nobody can. The same pointer for
// as long as it is the same signer.
func (k *Keys) Signer(issuer string, now time.Time) *ocsp.Signer {
	for d := (*k.current.Load())[issuer]; d != nil; d = d.before {
		if d.usable(now) {
			return d.signer
		}
	}
	return nil
}

// NotAfter returns when the newest certificate for an issuer ends, zero when there is
// none.
func (k *Keys) NotAfter(issuer string) time.Time {
	if d := (*k.current.Load())[issuer]; d != nil {
		return d.notAfter
	}
	return time.Time{}
}

// Close gives up the store of keys. Nothing is signed any more.
func (k *Keys) Close() { k.config.Store.Close() }

// set makes d the signer of an issuer; nil takes it away.
func (k *Keys) set(issuer string, d *delegate) {
	next := map[string]*delegate{}
	for id, other := range *k.current.Load() {
		next[id] = other
	}
	next[issuer] = d
	if d == nil {
		delete(next, issuer)
	}
	k.current.Store(&next)
}

// Prepare sees to it that every issuer that is asked about has a signer that is not
// past two thirds of its life. An issuer that fails is tried again after longer and
// longer pauses, and keeps the signer it has. When nothing is due it costs nothing.
func (k *Keys) Prepare(ctx context.Context, snapshot *state.Snapshot) {
	if snapshot.Manifest.OCSP.Disabled {
		return
	}
	now := k.config.Now()
	for id := range *k.current.Load() {
		if snapshot.ByID(id) == nil && snapshot.Issuers != nil {
			k.forget(ctx, id)
		}
	}
	for _, issuer := range snapshot.Issuers {
		if !issuer.OCSP || !now.Before(issuer.Certificate.NotAfter) || now.Before(k.retry[issuer.ID].after) {
			continue
		}
		err := k.prepare(ctx, issuer, snapshot)
		if err == nil {
			delete(k.retry, issuer.ID)
			continue
		}
		failed := k.retry[issuer.ID].failures + 1
		pause := min(5*time.Second<<min(failed, 10), 10*time.Minute)
		k.retry[issuer.ID] = attempt{failed, now.Add(pause)}
		k.config.Log.Warn("no new OCSP signer", "issuer", issuer.ID, "retry_in", pause, "error", err)
	}
	k.sweep(ctx, snapshot)
}

// forget drops the signer of an issuer that is gone, and its key.
func (k *Keys) forget(ctx context.Context, issuer string) {
	for d := (*k.current.Load())[issuer]; d != nil; d = d.before {
		k.drop(ctx, d)
	}
	k.set(issuer, nil)
	delete(k.retry, issuer)
	delete(k.loaded, issuer)
	if err := k.config.Folder.Remove(recordName(issuer)); err != nil {
		k.config.Log.Warn("a former OCSP signer stays on disk", "issuer", issuer, "error", err)
	}
}

func (k *Keys) drop(ctx context.Context, d *delegate) {
	if err := k.destroy(ctx, d.reference); err != nil {
		k.config.Log.Warn("a former OCSP signer's key stays where it is", "serial", d.serial.String(), "error", err)
	}
}

func recordName(issuer string) string { return "responder-" + issuer }

// prepare sees to one issuer.
func (k *Keys) prepare(ctx context.Context, issuer *state.Issuer, snapshot *state.Snapshot) error {
	now := k.config.Now()
	if !k.loaded[issuer.ID] {
		if err := k.load(ctx, issuer); err != nil {
			return err
		}
		k.loaded[issuer.ID] = true
	}
	d := (*k.current.Load())[issuer.ID]
	if d != nil && revoked(d, issuer.ID, snapshot) {
		// Relying parties do not look (id-pkix-ocsp-nocheck), so we must.
		k.config.Log.Warn("the OCSP signer was revoked: it signs nothing more", "issuer", issuer.ID, "serial", d.serial.String())
		k.forget(ctx, issuer.ID)
		k.loaded[issuer.ID] = true
		d = nil
	}
	if d != nil && d.before != nil && d.usable(now) {
		k.drop(ctx, d.before)
		alone := *d
		alone.before = nil
		d = &alone
		k.set(issuer.ID, d)
	}
	if d != nil && d.fresh(now, issuer.Certificate) {
		return nil
	}
	return k.renew(ctx, issuer, d)
}

func revoked(d *delegate, issuer string, snapshot *state.Snapshot) bool {
	if snapshot.Rows == nil {
		return false
	}
	row, found := snapshot.Rows.Find(issuer, d.serial)
	return found && !row.RevokedAt.IsZero()
}

// fresh reports whether no successor is wanted: before two thirds of its life, or when
// a successor could not live longer because the CA itself ends.
func (d *delegate) fresh(now time.Time, ca *x509.Certificate) bool {
	due := d.notBefore.Add(d.notAfter.Sub(d.notBefore) / 3 * 2)
	return now.Before(due) || d.usable(now) && !d.notAfter.Before(ca.NotAfter)
}

// renew makes a key, has it certified, records it and uses it.
//
// Killed before the record: the ledger may have a certificate whose key nobody uses,
// and the inventory has the key. Killed after it: the next process begins with it.
func (k *Keys) renew(ctx context.Context, issuer *state.Issuer, before *delegate) error {
	key, reference, err := k.config.Store.Make(ctx, func(reference string) { k.announce(reference, issuer.ID) })
	used := false
	defer func() {
		if !used && reference != "" {
			_ = k.destroy(context.WithoutCancel(ctx), reference) // the error that led here says more; sweep tries again
		}
	}()
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	csr, err := sign.Request(&x509.CertificateRequest{}, key)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	certificate, err := k.config.Certifier.SignResponder(ctx, issuer.ID, cert.CSRPEM(csr))
	if err != nil {
		return fmt.Errorf("certifying a key: %w", err)
	}
	authority, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: key})
	if err != nil {
		return err
	}
	next, err := newDelegate(authority, issuer.Certificate, reference)
	if err != nil {
		return err
	}
	now := k.config.Now()
	if !now.Before(next.notAfter) {
		return fault.New(fault.Conflict, "the new certificate %s has ended already: compare the clocks", next.serial)
	}
	if err := k.config.Folder.Write(recordName(issuer.ID), record{certificate.Raw, reference}); err != nil {
		// It signs all the same; after a restart there will be another one.
		k.config.Log.Error("the OCSP signer is not on disk", "issuer", issuer.ID, "error", err)
	}
	next.before = before
	if before != nil && before.before != nil {
		k.drop(ctx, before.before)
		only := *before
		only.before = nil
		next.before = &only
	}
	k.set(issuer.ID, next)
	used = true
	k.config.Log.Info("OCSP signer certified", "issuer", issuer.ID, "serial", next.serial.String(), "not_after", next.notAfter)
	return nil
}

// newDelegate checks that a certificate lets its key answer for the CA: RFC 6960
// section 4.2.2.2 wants it issued by the CA directly, with OCSPSigning.
func newDelegate(authority *sign.Authority, ca *x509.Certificate, reference string) (*delegate, error) {
	certificate := authority.Certificate()
	serial := cert.SerialOf(certificate.SerialNumber)
	if !slices.Contains(certificate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, fault.New(fault.Internal, "responder certificate %s has no extended key usage OCSPSigning", serial)
	}
	if !bytes.Equal(certificate.RawIssuer, ca.RawSubject) {
		return nil, fault.New(fault.Internal, "responder certificate %s was issued by another CA", serial)
	}
	if err := certificate.CheckSignatureFrom(ca); err != nil {
		return nil, fault.New(fault.Internal, "responder certificate %s was not signed by its issuer: %w", serial, err)
	}
	signer, err := ocsp.NewSigner(authority)
	if err != nil {
		return nil, err
	}
	return &delegate{signer: signer, notBefore: certificate.NotBefore, notAfter: certificate.NotAfter, serial: serial, reference: reference}, nil
}

// load takes up the signer that was in use before a restart, if its key is still
// there. Only a store that cannot be reached is an error.
func (k *Keys) load(ctx context.Context, issuer *state.Issuer) error {
	var stored record
	if err := k.config.Folder.Read(recordName(issuer.ID), &stored); err != nil {
		if !fault.Is(err, fault.NotFound) {
			k.config.Log.Error("the OCSP signer on disk cannot be read and is replaced", "issuer", issuer.ID, "error", err)
		}
		return nil
	}
	d, err := k.open(ctx, stored, issuer.Certificate)
	switch {
	case fault.Is(err, fault.Unavailable):
		return fmt.Errorf("finding the key of the OCSP signer: %w", err)
	case err != nil:
		k.config.Log.Info("the OCSP signer of before cannot be used any more and is replaced", "issuer", issuer.ID, "cause", err)
	default:
		k.set(issuer.ID, d)
	}
	return nil
}

// open returns the signer that a record describes.
func (k *Keys) open(ctx context.Context, stored record, ca *x509.Certificate) (*delegate, error) {
	certificate, err := x509.ParseCertificate(stored.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading its certificate: %w", err)
	}
	key, err := k.config.Store.Find(ctx, stored.Key, certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	authority, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: key})
	if err != nil {
		return nil, err
	}
	return newDelegate(authority, ca, stored.Key)
}
