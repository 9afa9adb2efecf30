package issuer

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// Config says what a Set works on.
type Config struct {
	Store kv.Store
	Ring  *keyring.Ring
	Log   hclog.Logger
	Now   func() time.Time
	// CheckPast refuses a key that must not become a CA's for what is on record of its
	// certificates; nil refuses none. It must not call the set.
	CheckPast func(ctx context.Context, key cert.Fingerprint) error
	// ClaimKey keeps requests under way from certifying a key for anything but a CA until
	// release. Conflict when one is about to; nil refuses none. It must not call the set.
	ClaimKey func(key cert.Fingerprint) (release func(), err error)
	// Live tells what lives of the certificates that issuers, given by id, have signed.
	// Unavailable while that is not known. Nil: none do.
	Live func(ctx context.Context, issuers []string) (Live, error)
	// Revoked reports whether a CA of the mount has revoked or suspended a certificate.
	// Nil: none has. It must not call the set.
	Revoked func(ctx context.Context, certificate *x509.Certificate) (bool, error)
}

// Set is the issuers of one mount. Reads come from an immutable snapshot and touch
// no storage once it is loaded.
type Set struct {
	Config
	records  kv.Table[record]
	defaults kv.Table[Defaults]
	urls     kv.Table[URLs]
	cluster  kv.Table[Cluster]
	// mu orders writers: whoever holds it has read the newest state and publishes
	// the next snapshot before releasing. Readers never take it.
	mu          sync.Mutex
	snap        atomic.Pointer[snapshot]
	proofs      proofs   // used by who holds mu
	held        []func() // releases what a change has claimed; used by who holds mu
	authorities sync.Map // authority cache: authorityKey -> *sign.Authority
}

// snapshot is all that reads need, never changed after it is published.
type snapshot struct {
	byID        map[string]*Issuer          // deleted ones included, as in ordered
	byName      map[string]*Issuer          // without deleted ones
	authorities                             // see ca.go
	lineage     *lineage                    // of those with a certificate, in the same order
	ordered     []*Issuer                   // by creation, then id
	keys        map[cert.Fingerprint]string // public key -> id of an issuer, pending ones included
	ended       map[cert.Fingerprint]string // public key of a revoked issuer -> its id
	defaults    Defaults
	urls        URLs
	cluster     Cluster
}

// New returns a set that has touched no storage.
func New(config Config) *Set {
	return &Set{
		Config:   config,
		records:  kv.NewTable[record](config.Store, layout.Issuer, recordVersion),
		defaults: kv.NewTable[Defaults](config.Store, layout.ConfigIssuers, 1),
		urls:     kv.NewTable[URLs](config.Store, layout.ConfigURLs, 1),
		cluster:  kv.NewTable[Cluster](config.Store, layout.ConfigCluster, 1),
	}
}

// Load reads all issuers and publishes the snapshot.
func (s *Set) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(ctx)
}

// load is Load for a caller that holds mu.
func (s *Set) load(ctx context.Context) error {
	next := &snapshot{byID: map[string]*Issuer{}, byName: map[string]*Issuer{}, authorities: authorities{formerIDs: map[string]*Issuer{}}}
	records, err := s.records.All(ctx)
	if err != nil {
		return fmt.Errorf("loading issuers: %w", err)
	}
	for id, r := range records {
		view, err := viewOf(r)
		if err != nil {
			return fmt.Errorf("loading issuer %s: %w", id, err)
		}
		next.add(view)
	}
	if err := s.loadConfig(ctx, next); err != nil {
		return err
	}
	next.index()
	next.link(&s.proofs)
	next.groupByCA()
	s.snap.Store(next)
	return nil
}

// viewOf reads a record: its certificate, or while it is pending its request.
func viewOf(r *record) (*Issuer, error) {
	view := &Issuer{record: *r}
	var pub crypto.PublicKey
	switch {
	case len(r.Certificate) > 0:
		parsed, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			return nil, err
		}
		view.cert, pub = parsed, parsed.PublicKey
	case len(r.CSR) > 0:
		request, err := x509.ParseCertificateRequest(r.CSR)
		if err != nil {
			return nil, err
		}
		pub = request.PublicKey
	default:
		return view, nil
	}
	var err error
	view.key, err = cert.KeyFingerprint(pub)
	return view, err
}

func (n *snapshot) add(view *Issuer) {
	n.byID[view.ID()] = view
	for _, id := range view.FormerIDs {
		n.formerIDs[id] = view
	}
	if view.Name() != "" && view.State() != Deleted {
		n.byName[view.Name()] = view
	}
	n.ordered = append(n.ordered, view)
}

// index orders the issuers and their keys.
func (n *snapshot) index() {
	slices.SortFunc(n.ordered, func(a, b *Issuer) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID(), b.ID()))
	})
	n.keys, n.ended = map[cert.Fingerprint]string{}, map[cert.Fingerprint]string{}
	for _, view := range n.ordered {
		if view.key == (cert.Fingerprint{}) {
			continue
		}
		n.keys[view.key] = view.ID()
		if view.State() == Revoked {
			n.ended[view.key] = view.ID()
		}
	}
	for _, view := range n.ordered {
		view.ended = n.ended[view.key]
	}
}

// current returns the snapshot, loading it on first use.
func (s *Set) current(ctx context.Context) (*snapshot, error) {
	if snap := s.snap.Load(); snap != nil {
		return snap, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if snap := s.snap.Load(); snap != nil {
		return snap, nil
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s.snap.Load(), nil
}

// Invalidate drops the snapshot, so that the next read loads it anew.
func (s *Set) Invalidate() {
	s.snap.Store(nil)
	s.authorities.Clear()
}

// References with a meaning of their own.
const (
	DefaultRef = "default" // the default issuer
	selfRef    = "self"    // in manual_chain, the issuer itself
)

// Get returns the issuer with an id or a name, or the default one for DefaultRef.
// NotFound when there is none.
func (s *Set) Get(ctx context.Context, ref string) (*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return snap.get(ref)
}

func (n *snapshot) get(ref string) (*Issuer, error) {
	if ref == DefaultRef {
		if n.defaults.Default == "" {
			return nil, fault.New(fault.NotFound, "no default issuer is configured: write config/issuers, or import a CA certificate")
		}
		ref = n.defaults.Default
	}
	if view, ok := n.byID[ref]; ok && view.State() != Deleted {
		return view, nil
	}
	if view, ok := n.byName[ref]; ok && !isID(ref) { // an earlier release took such names
		return view, nil
	}
	if !nameRule.MatchString(ref) { // whatever it is, it is not for a message
		return nil, fault.New(fault.NotFound, "unable to find PKI issuer: the reference is neither an id nor a name")
	}
	// The words are those that clients of the built-in engine look for.
	return nil, fault.New(fault.NotFound, "unable to find PKI issuer for reference: %s", ref)
}

// List returns the issuers that have a certificate, oldest first.
func (s *Set) List(ctx context.Context) ([]*Issuer, error) {
	all, err := s.All(ctx)
	return slices.DeleteFunc(all, func(i *Issuer) bool { return i.State() == Deleted }), err
}

// All is List with the deleted ones, whose certificates relying parties still need.
func (s *Set) All(ctx context.Context) ([]*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(snap.ordered), func(i *Issuer) bool { return i.cert == nil }), nil
}

// Pending returns the issuers that wait for their certificate, oldest first.
func (s *Set) Pending(ctx context.Context) ([]*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(snap.ordered), func(i *Issuer) bool { return i.State() != Pending }), nil
}

// Loaded returns the issuers that have a certificate, deleted ones included, as far as
// they are in memory, for callers that must not touch storage. Nil, not empty, when they are not loaded.
func (s *Set) Loaded() []*Issuer {
	snap := s.snap.Load()
	if snap == nil {
		return nil
	}
	loaded := make([]*Issuer, 0, len(snap.ordered))
	for _, i := range snap.ordered {
		if i.cert != nil {
			loaded = append(loaded, i)
		}
	}
	return loaded
}

// KeyHolder returns the id of an issuer, pending ones included, that has the public
// key with this fingerprint. It touches no storage and knows nothing before the first load.
func (s *Set) KeyHolder(key cert.Fingerprint) (id string, found bool) {
	snap := s.snap.Load()
	if snap == nil {
		return "", false
	}
	id, found = snap.keys[key]
	return id, found
}

// CheckKey refuses the public key of a revoked issuer for any CA: under another
// certificate it would issue again (ca-4).
func (s *Set) CheckKey(ctx context.Context, key cert.Fingerprint) error {
	snap, err := s.current(ctx)
	if err != nil {
		return err
	}
	return snap.checkKey(key)
}

func (n *snapshot) checkKey(key cert.Fingerprint) error {
	if id, ended := n.ended[key]; ended {
		return fault.New(fault.Conflict, "the key is that of issuer %s, which was revoked: no other CA may have it", id)
	}
	return nil
}

type authorityKey struct {
	issuer    string
	algorithm x509.SignatureAlgorithm
}

// Authority returns the signing authority of an issuer for a use, with the given
// signature algorithm or, for zero, the one that suits its key. Denied when the
// issuer may not be used so; Unavailable when its token cannot be reached.
func (s *Set) Authority(ctx context.Context, i *Issuer, use Usage, algorithm x509.SignatureAlgorithm) (*sign.Authority, error) {
	if err := i.CheckUse(use); err != nil {
		return nil, err
	}
	key := authorityKey{i.ID(), algorithm}
	known, _ := s.authorities.Load(key)
	if authority, ok := known.(*sign.Authority); ok {
		return authority, nil
	}
	signer, err := s.Ring.Signer(ctx, i.KeyID())
	if err != nil {
		return nil, fmt.Errorf("opening key of issuer %s: %w", i.ID(), err)
	}
	authority, err := sign.NewAuthority(sign.Config{Certificate: i.cert, Signer: signer, Algorithm: algorithm})
	if err != nil {
		return nil, fmt.Errorf("opening issuer %s: %w", i.ID(), err)
	}
	s.authorities.Store(key, authority)
	return authority, nil
}
