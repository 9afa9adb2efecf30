// Package backend promises one mount's rooms, wired: everything that would survive
// if Vault were replaced. It starts without failing, loads in the background, and
// stops at once.
package backend

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keypool"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/places"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/publisher"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/backend/tidy"
)

// Config says what a Backend works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger
	Mount string // the mount's UUID
	Now   func() time.Time
}

// Backend is the rooms of one mount.
type Backend struct {
	Ring       *keyring.Ring
	Issuers    *issuer.Set
	Catalog    *catalog.Catalog
	Ledger     *ledger.Ledger
	Keys       *keypool.Pool
	Issue      *issue.Service
	Revoke     Revocation
	CRL        *crl.Service
	Places     *places.Service
	OCSP       *ocsp.Responder
	Publishers *publisher.Service
	Tidy       *tidy.Service
	Fsck       *fsck.Service

	background background
	settled    settled
}

// Revocation revokes certificates, one by one and in bulk.
type Revocation struct {
	*revoke.Service
	Bulk *revoke.Bulk
}

// background is the work that no request waits for.
type background struct {
	log    hclog.Logger
	now    func() time.Time
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	// turn admits one round at a time: a Tick that finds it taken has nothing to add.
	turn sync.Mutex
	// configuring admits one ConfigureOCSP at a time.
	configuring sync.Mutex
	// adopted are the issuers of which adoptPlaces has seen the ledger; held by turn.
	adopted map[string]bool
}

// New wires the rooms. It touches no storage and starts nothing.
func New(config Config) *Backend {
	b := &Backend{}
	b.background.log, b.background.now, b.background.adopted = config.Log, config.Now, map[string]bool{}
	b.background.ctx, b.background.cancel = context.WithCancel(context.Background())
	b.Ring = keyring.New(keyring.Config{Store: config.Store, Log: config.Log, Mount: config.Mount, Now: config.Now})
	b.Issuers = issuer.New(issuer.Config{
		Store: config.Store, Ring: b.Ring, Log: config.Log, Now: config.Now, Live: b.live, Revoked: b.isRevoked,
		CheckPast: func(ctx context.Context, key cert.Fingerprint) error {
			return b.Issue.CheckPast(ctx, key, profile.KindSubCA)
		},
		ClaimKey: func(key cert.Fingerprint) (func(), error) { return b.Issue.ClaimKey(key, profile.KindSubCA) },
	})
	b.Catalog = catalog.New(config.Store)
	b.Catalog.OnMove(b.profileMoved)
	b.Ledger = ledger.New(ledger.Config{
		Store: config.Store, Log: config.Log, Now: config.Now,
		Learnt: func(issuer string, reason cert.Reason) { b.CRL.Revoked(issuer, reason) },
	})
	b.Keys = keypool.New(keypool.Config{Store: config.Store, Log: config.Log, Now: config.Now})
	b.CRL = crl.New(crl.Config{Store: config.Store, Ledger: b.Ledger, Source: crlSource{b}, Log: config.Log, Now: config.Now})
	b.Places = places.New(config.Store, config.Now)
	b.Issue = issue.New(issue.Config{
		Catalog: b.Catalog, Issuers: b.Issuers, Ledger: b.Ledger, Keys: b.Keys, Lists: b.CRL, Places: b.Places, Log: config.Log, Now: config.Now,
	})
	b.OCSP = ocsp.New(ocsp.Config{Store: config.Store, Ledger: b.Ledger, Source: ocspSource{b}, Log: config.Log, Now: config.Now})
	b.Revoke.Service = revoke.New(revoke.Config{
		Ledger: b.Ledger, Changed: b.CRL.Revoked, Issuers: ownIssuers{b}, SignedBy: b.signedBy, Allows: b.allowsReason, Now: config.Now,
	})
	b.Revoke.Bulk = revoke.NewBulk(revoke.BulkConfig{Revoke: b.Revoke.Service, Store: config.Store, Log: config.Log})
	b.Publishers = publisher.New(publisher.Config{Store: config.Store, Now: config.Now})
	b.Tidy = tidy.New(tidy.Config{
		Store: config.Store, Ledger: b.Ledger, Issuers: b.Issuers, CRL: b.CRL, OCSP: b.OCSP, Places: b.Places, Log: config.Log, Now: config.Now,
	})
	b.Fsck = fsck.NewService(fsck.Config{Store: config.Store, Log: config.Log, Now: config.Now})
	return b
}

// Start begins loading in the background and returns at once. Requests load what
// they need themselves when they come first; questions about status wait for the
// ledger.
func (b *Backend) Start() { go b.round() }

// Tick does the regular work in the background and returns at once: it is called
// every minute on the active node, under a lock of Vault's.
func (b *Backend) Tick() { go b.round() }

// round loads what is not loaded and renews what is due. One part's failure does not
// keep the others from their turn; each is tried again at the next round.
func (b *Backend) round() {
	if !b.background.turn.TryLock() {
		return
	}
	defer b.background.turn.Unlock()
	parts := []struct {
		name string
		work func(context.Context) error
	}{
		{"moving profiles with reserved names", b.Catalog.Migrate},
		{"loading issuers", b.loadIssuers},
		{"loading the ledger", b.loadLedger},
		{"finding the issuers of certificates", b.settleIssuers},
		{"noting URLs of certificates", b.adoptPlaces},
		{"reading config/crl", b.ConfigureOCSP},
		{"renewing OCSP responders", b.OCSP.Prepare},
		{"renewing CRLs", b.CRL.Tick},
		{"flushing the ledger", b.Ledger.Flush},
		{"removing deleted issuers", b.purgeIssuers},
		{"tidying", b.Tidy.Tick},
	}
	for _, part := range parts {
		if b.background.ctx.Err() != nil {
			return
		}
		b.guard(part.name, part.work)
	}
}

// guard runs one part of a round and outlives its panic: one process serves all
// mounts.
func (b *Backend) guard(name string, work func(context.Context) error) {
	defer func() {
		if p := recover(); p != nil {
			what, stack := fault.Panicked(p)
			b.background.log.Error("background work panicked", "work", name, "cause", what, "stack", stack)
		}
	}()
	if err := work(b.background.ctx); err != nil && b.background.ctx.Err() == nil {
		b.background.log.Warn("background work failed, will be tried again", "work", name, "error", err)
	}
}

func (b *Backend) loadIssuers(ctx context.Context) error {
	_, err := b.Issuers.List(ctx)
	return err
}

func (b *Backend) loadLedger(ctx context.Context) error {
	if b.Ledger.Loaded() {
		return nil
	}
	return b.Ledger.Load(ctx)
}

// ConfigureOCSP hands what config/crl and config/ocsp say to the responder; to be
// called after each write of them. A responder that is told the same keeps its answers.
func (b *Backend) ConfigureOCSP(ctx context.Context) error {
	b.background.configuring.Lock() // what was read last is what holds (race-1)
	defer b.background.configuring.Unlock()
	config, err := b.CRL.OCSP(ctx)
	if err != nil {
		return err
	}
	settings, err := b.OCSP.Settings(ctx, ocsp.Settings{Expiry: config.Expiry, Backdate: config.Backdate, Disabled: config.Disabled})
	if err != nil {
		return err
	}
	b.OCSP.Configure(settings)
	return nil
}

// Close stops background work. It does not wait for it.
func (b *Backend) Close() {
	b.background.cancel()
	b.Tidy.Close()
	b.Revoke.Bulk.Close()
	b.Fsck.Close()
	b.CRL.Close()
	b.Keys.Close()
	b.Ring.Close()
}
