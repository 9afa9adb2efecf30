package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// preparesAtOnce bounds how many issuers Prepare works on side by side, so that one
// whose token hangs does not keep the others waiting.
const preparesAtOnce = 8

// saveDeadline bounds the write that follows a delegation.
const saveDeadline = time.Minute

// record is a delegated responder as it is stored.
type record struct {
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // PKCS#8
}

// delegate is the delegated responder of one issuer. It does not change, but for
// unsaved.
type delegate struct {
	certificate *x509.Certificate
	signer      *Signer
	record      record
	unsaved     bool   // storage does not hold it yet; of Prepare alone
	former      string // the issuer under whose id an earlier release stored it, or ""
}

// usable reports whether relying parties accept the responder's certificate now.
func (d *delegate) usable(now time.Time) bool {
	return !now.Before(d.certificate.NotBefore) && now.Before(d.certificate.NotAfter)
}

// fresh reports whether no successor is wanted yet: before two thirds of its life,
// or when a successor could not live longer because the CA itself ends.
func (d *delegate) fresh(now time.Time, ca *x509.Certificate) bool {
	life := d.certificate.NotAfter.Sub(d.certificate.NotBefore)
	due := d.certificate.NotBefore.Add(life / 3 * 2)
	return now.Before(due) || d.usable(now) && !d.certificate.NotAfter.Before(ca.NotAfter)
}

// newDelegate checks that the certificate lets the key answer for the CA: RFC 6960
// section 4.2.2.2 wants it issued by the CA directly, with OCSPSigning.
func newDelegate(certificate, ca *x509.Certificate, key crypto.Signer) (*delegate, error) {
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
	authority, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: key})
	if err != nil {
		return nil, err
	}
	signer, err := NewSigner(authority)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding responder key: %w", err)
	}
	return &delegate{
		certificate: certificate, signer: signer,
		record: record{Certificate: certificate.Raw, Key: pkcs8},
	}, nil
}

// Signer implements Signers: the delegated responder, else the CA where it may.
func (r *Responder) Signer(issuer string, now time.Time) *Signer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if d := r.delegates[issuer]; d != nil && d.usable(now) {
		return d.signer
	}
	return r.directs[issuer]
}

// held returns the responder of an issuer, nil when none is known.
func (r *Responder) held(id string) *delegate {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.delegates[id]
}

// hold makes d the responder of an issuer.
func (r *Responder) hold(id string, d *delegate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delegates[id] = d
}

// LastError returns why the last Prepare failed for an issuer, nil when it did not:
// for health.
func (r *Responder) LastError(issuer string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.failures[issuer]
}

// Responder returns the certificate that answers for an issuer now, nil when there
// is none: for health.
func (r *Responder) Responder(issuer string) *x509.Certificate {
	if d := r.held(issuer); d != nil {
		return d.certificate
	}
	return nil
}

// Invalidate drops what was read from a storage key that another node has written;
// the next Prepare reads it again.
func (r *Responder) Invalidate(key string) {
	if key == layout.ConfigOCSP {
		r.choices.Store(nil)
	}
	if issuer, found := strings.CutPrefix(key, layout.Responder); found {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.delegates, issuer)
	}
}

// Prepare makes sure that every issuer has a responder certificate that is valid
// and not past two thirds of its life; called at start and by Tick. One issuer's
// error does not hinder the others: it keeps answering with the certificate it has,
// while that lasts. Warm, it does no storage operation.
func (r *Responder) Prepare(ctx context.Context) error {
	r.preparing.Lock()
	defer r.preparing.Unlock()
	issuers := r.config.Source.Issuers()
	if issuers == nil {
		return nil // not known yet; the next Tick comes back
	}
	r.forget(issuers)
	if r.answerer.settings.Load().Disabled {
		return nil
	}
	chosen, err := r.chosen(ctx)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(preparesAtOnce)
	var mu sync.Mutex // guards failures
	var failures []error
	prepared := map[string]bool{}
	for _, issuer := range issuers {
		if prepared[issuer.ID] {
			continue // another certificate of the same CA
		}
		prepared[issuer.ID] = true
		group.Go(func() error {
			err := r.prepare(ctx, issuer, chosen)
			r.mu.Lock()
			r.failures[issuer.ID] = err
			r.mu.Unlock()
			if err != nil {
				mu.Lock()
				failures = append(failures, fmt.Errorf("preparing OCSP responder of issuer %s: %w", issuer.ID, err))
				mu.Unlock()
			}
			return nil
		})
	}
	_ = group.Wait() // every error is in failures
	return errors.Join(failures...)
}

// forget drops what is kept for issuers that are gone. Their records stay: Issuers
// may be short because something could not be read.
func (r *Responder) forget(issuers []Issuer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := func(id string) bool {
		return !slices.ContainsFunc(issuers, func(i Issuer) bool { return i.ID == id })
	}
	for id := range r.delegates {
		if gone(id) {
			delete(r.delegates, id)
		}
	}
	for id := range r.directs {
		if gone(id) {
			delete(r.directs, id)
		}
	}
	for id := range r.failures {
		if gone(id) {
			delete(r.failures, id)
		}
	}
}

// Stored returns the ids of the issuers of which storage holds a responder, those that
// are gone included.
func (r *Responder) Stored(ctx context.Context) ([]string, error) { return r.records.Names(ctx) }

// Forget removes the responder of an issuer that Source does not know any more, its
// key with it. It does not wait for a Prepare that is under way: what that may store
// after it, Stored leads to.
func (r *Responder) Forget(ctx context.Context, issuer string) error {
	r.mu.Lock()
	delete(r.delegates, issuer)
	delete(r.directs, issuer)
	delete(r.failures, issuer)
	r.mu.Unlock()
	if _, err := r.records.Get(ctx, issuer); err != nil { // of a newer release: it stays
		return err
	}
	return r.records.Delete(ctx, issuer)
}

// prepare sees to one issuer, and lets the CA answer for itself for as long as nobody
// else can, if it may.
func (r *Responder) prepare(ctx context.Context, issuer Issuer, chosen *choices) error {
	err := r.delegated(ctx, issuer, chosen.validity)
	d := r.held(issuer.ID)
	if !chosen.options.AllowCADirect || d != nil && d.usable(r.config.Now()) {
		r.direct(issuer.ID, nil)
		return err
	}
	r.mu.RLock()
	there := r.directs[issuer.ID] != nil
	r.mu.RUnlock()
	if there {
		return err
	}
	authority, problem := r.config.Source.Direct(ctx, issuer.ID)
	if problem != nil {
		return errors.Join(err, fmt.Errorf("signing with the CA key instead: %w", problem))
	}
	signer, problem := NewSigner(authority)
	if problem != nil {
		return errors.Join(err, problem)
	}
	r.direct(issuer.ID, signer)
	r.config.Log.Warn("OCSP is answered with the CA key (allow_ca_direct)", "issuer", issuer.ID)
	return err
}

// direct makes a CA answer for itself; nil: no more.
func (r *Responder) direct(issuer string, signer *Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if signer == nil {
		delete(r.directs, issuer)
		return
	}
	r.directs[issuer] = signer
}

// delegated makes sure that one issuer has a delegated responder.
func (r *Responder) delegated(ctx context.Context, issuer Issuer, validity time.Duration) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			r.config.Log.Error("preparing an OCSP responder panicked", "issuer", issuer.ID, "cause", what, "stack", stack)
			err = fault.New(fault.Internal, "internal error")
		}
	}()
	ca, err := x509.ParseCertificate(issuer.DER)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	now := r.config.Now()
	if !now.Before(ca.NotAfter) {
		return nil // an expired CA delegates to nobody
	}
	d := r.held(issuer.ID)
	if d == nil {
		if d, err = r.load(ctx, issuer.ID, ca); err != nil {
			return err
		}
	}
	if d != nil {
		r.hold(issuer.ID, d)
		if d.fresh(now, ca) && !r.revoked(d) {
			return r.save(ctx, issuer.ID, d)
		}
	}
	return r.rekey(ctx, issuer.ID, ca, d, validity)
}

// revoked reports whether the responder's own certificate was revoked. Relying
// parties do not look (id-pkix-ocsp-nocheck), so we must.
func (r *Responder) revoked(d *delegate) bool {
	row, found, err := r.config.Ledger.Row(cert.SerialOf(d.certificate.SerialNumber))
	return err == nil && found && !row.RevokedAt.IsZero()
}

// rekey makes a new key, has it certified, uses it, and stores it. before, which
// may be nil, answers until relying parties accept the successor; after that the
// answers it has signed stay valid, since they carry its certificate.
func (r *Responder) rekey(ctx context.Context, id string, ca *x509.Certificate, before *delegate, validity time.Duration) error {
	key, err := cert.GenerateKey(cert.P256)
	if err != nil {
		return fmt.Errorf("generating responder key: %w", err)
	}
	certificate, err := r.config.Source.Delegate(ctx, id, key.Public(), validity)
	if err != nil {
		return fmt.Errorf("certifying responder key: %w", err)
	}
	// A crash here leaves a certificate in the ledger whose key nobody has.
	d, err := newDelegate(certificate, ca, key)
	if err != nil {
		return err
	}
	now := r.config.Now()
	if before != nil && before.usable(now) && !d.usable(now) {
		return fault.New(fault.Conflict, "the new responder certificate %s is not valid yet: the old one stays in use", cert.SerialOf(certificate.SerialNumber))
	}
	d.unsaved = true
	// In use before it is stored: losing it in a crash costs a new certificate, while
	// waiting for storage would cost answers. The next Prepare stores it, instead of
	// asking for one certificate after the other.
	r.hold(id, d)
	r.config.Log.Info("OCSP responder re-keyed", "issuer", id,
		"serial", cert.SerialOf(certificate.SerialNumber).String(), "not_after", certificate.NotAfter)
	return r.save(ctx, id, d)
}

// save stores a responder that is not stored yet.
func (r *Responder) save(ctx context.Context, id string, d *delegate) error {
	if !d.unsaved {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveDeadline)
	defer cancel()
	if err := r.records.Put(ctx, id, &d.record); err != nil {
		return err
	}
	// In place, since a copy would be another signer to the cache. Nobody but Prepare
	// looks at unsaved, and one Prepare runs at a time.
	d.unsaved = false
	if d.former == "" {
		return nil
	}
	// A crash here leaves the same responder under two names, and the next start does
	// not look at the former one.
	return r.records.Delete(ctx, d.former)
}
