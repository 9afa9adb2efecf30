package issuer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
)

// ImportRequest brings CA certificates, and with AllowKeys private keys, into the
// mount.
type ImportRequest struct {
	PEM       []byte
	AllowKeys bool
	// NeedPending refuses a bundle without the certificate of a pending issuer, as
	// intermediate/set-signed does.
	NeedPending bool
	// Conforms checks a certificate against the profile that was requested for it;
	// nil when no profile is known.
	Conforms func(profile string, certificate *x509.Certificate) error
}

// field is what the fields of the bundle is called where it was given.
func (r ImportRequest) field() string {
	if r.NeedPending {
		return "certificate"
	}
	return "pem_bundle"
}

// ImportResult tells what became of a bundle, ids throughout.
type ImportResult struct {
	ImportedIssuers, ExistingIssuers []string
	ImportedKeys, ExistingKeys       []string
	Mapping                          map[string]string // issuer id -> key id, "" without a key
	// Warnings say what the import leaves to be done.
	Warnings []string
}

// plan is an import that passed every check and has written nothing yet.
type plan struct {
	records  []*record           // to write
	added    []*x509.Certificate // those of records, in the same order
	existing []*record
	bound    []*record    // to write: known certificates whose key came since
	keys     []privateKey // to import
}

// privateKey is a private key of a bundle and the identity of its public key.
type privateKey struct {
	text   []byte // PEM
	public cert.Fingerprint
}

// maxCertificates is how many certificates one bundle may hold (dos-1).
const maxCertificates = 100

// Import checks the whole bundle and then stores it, or refuses it as a whole
// (ca-3): nothing is written before the last check passed.
func (s *Set) Import(ctx context.Context, request ImportRequest) (ImportResult, error) {
	certs, keys, err := splitBundle(request)
	if err != nil {
		return ImportResult{}, err
	}
	result := ImportResult{Mapping: map[string]string{}}
	err = s.change(ctx, func(snap *snapshot) error {
		p := &plan{keys: keys}
		for _, c := range certs {
			if err := s.planOne(ctx, snap, p, c, request); err != nil {
				return err
			}
		}
		if err := s.checkPlan(ctx, snap, p, certs, request); err != nil {
			return err
		}
		related := s.relate(snap, p, certs)
		if err := related.check(request); err != nil {
			s.proofs.forget(snap.lineage)
			return err
		}
		result.Warnings = related.warnings()
		return s.store(ctx, snap, p, &result)
	})
	return result, err
}

// planOne checks one certificate by itself and decides what it becomes.
func (s *Set) planOne(ctx context.Context, snap *snapshot, p *plan, c *x509.Certificate, request ImportRequest) error {
	if err := checkCA(c, s.Now()); err != nil {
		return err
	}
	for _, known := range snap.ordered {
		switch {
		case known.cert == nil || !known.cert.Equal(c):
		case known.State() == Deleted && p.has(known.ID()): // twice in the bundle
			return nil
		case known.State() == Deleted:
			if err := s.admitCertificate(ctx, snap, p, c, known.key); err != nil {
				return err
			}
			return s.planReturn(ctx, snap, p, known)
		default:
			return s.planKnown(ctx, snap, p, known)
		}
	}
	for _, planned := range p.records {
		if bytes.Equal(planned.Certificate, c.Raw) {
			return nil
		}
	}
	fingerprint, err := cert.KeyFingerprint(c.PublicKey)
	if err != nil {
		return err
	}
	if err := s.admitCertificate(ctx, snap, p, c, fingerprint); err != nil {
		return err
	}
	ca := snap.authorityOf(c)
	key, err := s.Ring.FindPublic(ctx, c.PublicKey)
	if err != nil {
		return err
	}
	requested := snap.requestedProfile(key)
	if requested != "" && request.Conforms != nil {
		if err := request.Conforms(requested, c); err != nil {
			return fmt.Errorf("checking %q against profile %s, for which its key was requested: %w", c.Subject.String(), requested, err)
		}
	}
	if pending := snap.pendingFor(key); pending != nil && !p.has(pending.ID()) {
		active := pending.record
		active.State, active.Certificate, active.CA = Active, c.Raw, ca
		active.Settings.Usage = UsageFor(c, active.Settings.Usage)
		p.add(&active, c)
		return nil
	}
	r := &record{ID: newID(), State: External, Certificate: c.Raw, Profile: requested, Settings: DefaultSettings(), CreatedAt: s.Now().Unix(), CA: ca}
	if key != nil {
		r.State, r.KeyID = Active, key.ID
	}
	r.Settings.Usage = UsageFor(c, r.Settings.Usage)
	p.add(r, c)
	return nil
}

// has reports whether an issuer gets its certificate from this plan already.
func (p *plan) has(id string) bool {
	return slices.ContainsFunc(p.records, func(r *record) bool { return r.ID == id })
}

func (p *plan) add(r *record, c *x509.Certificate) {
	p.records, p.added = append(p.records, r), append(p.added, c)
}

// planKnown decides what becomes of a certificate that is here already: nothing, unless
// its key came since.
func (s *Set) planKnown(ctx context.Context, snap *snapshot, p *plan, known *Issuer) error {
	key, err := s.Ring.FindPublic(ctx, known.cert.PublicKey)
	if err != nil {
		return err
	}
	revoked, err := s.isRevoked(ctx, known.cert)
	if err != nil {
		return err
	}
	if key == nil || known.State() != External || revoked {
		p.existing = append(p.existing, &known.record)
		return nil
	}
	if err := s.hold(ctx, snap, "certificate", known.key); err != nil {
		return fmt.Errorf("importing %q: %w", known.cert.Subject.String(), err)
	}
	next := known.record
	next.State, next.KeyID = Active, key.ID
	p.bound = append(p.bound, &next)
	return nil
}

// pendingFor returns the newest pending issuer that waits for a certificate of this
// key, or nil.
func (n *snapshot) pendingFor(key *keyring.Key) *Issuer {
	var found *Issuer
	for _, candidate := range n.ordered {
		if key != nil && candidate.State() == Pending && candidate.KeyID() == key.ID {
			found = candidate
		}
	}
	return found
}

// requestedProfile returns the profile that certificates of a key were requested to
// have: that of the pending issuer, and once it has its certificate that of the newest
// issuer that was requested with a profile. "" when there is none.
func (n *snapshot) requestedProfile(key *keyring.Key) string {
	if key == nil {
		return ""
	}
	if pending := n.pendingFor(key); pending != nil {
		return pending.RequestedProfile()
	}
	requested := ""
	for _, i := range n.ordered {
		if i.KeyID() == key.ID && i.RequestedProfile() != "" {
			requested = i.RequestedProfile()
		}
	}
	return requested
}

// checkPlan checks what only the whole bundle shows.
func (s *Set) checkPlan(ctx context.Context, snap *snapshot, p *plan, certs []*x509.Certificate, request ImportRequest) error {
	for _, imported := range p.keys {
		if err := s.admitImport(ctx, snap, imported.text); err != nil {
			return err
		}
	}
	if !request.NeedPending {
		return nil
	}
	for _, r := range slices.Concat(p.records, p.existing, p.bound) {
		if r.KeyID != "" {
			return nil
		}
	}
	var waiting []string
	for _, candidate := range snap.ordered {
		if candidate.State() != Pending {
			continue
		}
		key, err := s.Ring.Get(ctx, candidate.KeyID())
		if err != nil {
			return err
		}
		waiting = append(waiting, key.Fingerprint().Hex())
	}
	if len(waiting) == 0 {
		return fault.Field("certificate", "no issuer is pending in this mount and no key of it matches: generate a request first")
	}
	got, err := cert.KeyFingerprint(certs[0].PublicKey)
	if err != nil {
		return err
	}
	return fault.Field("certificate", "no certificate matches a pending key: expected a public key with SHA-256 (SubjectPublicKeyInfo) %s, got %s",
		fault.List(waiting), got.Hex())
}

// store writes a checked plan: keys first, then certificates, then the default. A
// crash in between leaves keys without certificate or a chain without its upper
// part, both of which the same import completes.
func (s *Set) store(ctx context.Context, snap *snapshot, p *plan, result *ImportResult) error {
	for _, imported := range p.keys {
		key, existing, err := s.Ring.Import(ctx, "", imported.text)
		if err != nil {
			return err
		}
		if existing {
			result.ExistingKeys = append(result.ExistingKeys, key.ID)
		} else {
			result.ImportedKeys = append(result.ImportedKeys, key.ID)
		}
		if err := s.adopt(ctx, snap, p, key); err != nil {
			return err
		}
	}
	for _, r := range slices.Concat(p.records, p.bound) {
		if err := s.records.Put(ctx, r.ID, r); err != nil {
			return fmt.Errorf("storing issuer %s: %w", r.ID, err)
		}
		result.ImportedIssuers = append(result.ImportedIssuers, r.ID)
		result.Mapping[r.ID] = r.KeyID
	}
	for _, r := range p.existing {
		result.ExistingIssuers = append(result.ExistingIssuers, r.ID)
		result.Mapping[r.ID] = r.KeyID
	}
	return s.followLatest(ctx, snap, slices.Concat(p.records, p.bound))
}

// adopt gives an imported key to the certificates, new or known, that carry it. Of
// deleted issuers too: they stay deleted, and their CA signs CRLs again.
func (s *Set) adopt(ctx context.Context, snap *snapshot, p *plan, key *keyring.Key) error {
	take := func(r *record) bool {
		view, err := viewOf(r)
		return err == nil && (r.State == External || r.State == Deleted && r.KeyID == "") && view.key == key.Fingerprint()
	}
	for _, r := range p.records {
		if take(r) {
			r.State, r.KeyID = Active, key.ID
		}
	}
	for _, known := range snap.ordered {
		r := known.record
		if len(r.Certificate) == 0 || !take(&r) {
			continue
		}
		r.KeyID = key.ID
		if r.State == External {
			revoked, err := s.isRevoked(ctx, known.cert)
			if err != nil {
				return err
			}
			if revoked { // it never issues, and CRLs of its CA are imported as before
				continue
			}
			r.State = Active
		}
		if err := s.records.Put(ctx, r.ID, &r); err != nil {
			return fmt.Errorf("storing issuer %s: %w", r.ID, err)
		}
	}
	return nil
}

// followLatest makes the one new issuer that can sign the default, when there is no
// default yet or config/issuers says to follow.
func (s *Set) followLatest(ctx context.Context, snap *snapshot, added []*record) error {
	var signing []*record
	for _, r := range added {
		if r.State == Active {
			signing = append(signing, r)
		}
	}
	if len(signing) == 0 || (snap.defaults.Default != "" && (!snap.defaults.FollowsLatest || len(signing) > 1)) {
		return nil
	}
	defaults := Defaults{Default: signing[0].ID, FollowsLatest: snap.defaults.FollowsLatest}
	return s.defaults.Put(ctx, single, &defaults)
}

// newID returns a random UUID, version 4 (RFC 9562 section 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := hex.EncodeToString(b[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}
