// Package edge promises one pki-edge, its rooms wired: it follows one mount of Vault,
// and answers OCSP, CRLs, CA certificates and the repository page over plain HTTP,
// with Vault, without it, and after a restart without it. It holds no CA key.
//
// It is a sibling of paths: both know a network that backend does not.
package edge

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/mirror"
	"vault-plugin-secrets-enterprise-pki/edge/page"
	"vault-plugin-secrets-enterprise-pki/edge/publish"
	"vault-plugin-secrets-enterprise-pki/edge/serve"
	"vault-plugin-secrets-enterprise-pki/edge/signer"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
)

// prepareEvery is how often it is looked whether an OCSP signer is due.
const prepareEvery = time.Second

// Config says what an Edge is made of.
type Config struct {
	Settings config.Config // checked
	Version  string
	Log      hclog.Logger
	Now      func() time.Time
}

// Edge is one running edge.
type Edge struct {
	config   Config
	folder   *disk.Folder
	listener *connections
	// scraped is the listener of metrics, nil when the other has them.
	scraped  *connections
	mirror   *mirror.Mirror
	keys     *signer.Keys
	answerer *ocsp.Answerer
	// configured is how the answerer answers: of New, then of configure alone.
	configured feed.OCSP
	handler    http.Handler
	scrape     http.Handler
	publish    *publish.Service
}

// New takes the folder of copies and the address, and reads what is on disk. Vault is
// not asked yet: an edge starts without it.
func New(ctx context.Context, c Config) (*Edge, error) {
	client, err := vault.New(c.Settings.Vault, c.Now)
	if err != nil {
		return nil, err
	}
	folder, err := disk.Open(c.Settings.DataDir)
	if err != nil {
		return nil, err
	}
	e := &Edge{config: c, folder: folder}
	if e.listener, err = listen(ctx, c.Settings.Listen); err != nil {
		_ = folder.Close()
		return nil, err
	}
	if e.scraped, err = listenMetrics(ctx, c.Settings.Listen); err != nil {
		_ = e.listener.Close()
		_ = folder.Close()
		return nil, err
	}
	e.mirror = mirror.New(mirror.Config{
		Client: client, Folder: folder, Interval: c.Settings.PollInterval, Log: c.Log.Named("mirror"), Now: c.Now,
	})
	e.keys = signer.New(signer.Config{
		Certifier: client, Folder: folder, Store: signer.NewStore(c.Settings.Signer, c.Settings.Name, c.Now), Log: c.Log.Named("signer"), Now: c.Now,
	})
	k := &known{snapshot: e.mirror.Snapshot, now: c.Now}
	e.answerer = ocsp.NewAnswerer(ocsp.AnswererConfig{Issuers: k, States: k, Signers: e.keys, Log: c.Log.Named("ocsp"), Now: c.Now})
	server := serve.New(serve.Config{
		Snapshot: e.mirror.Snapshot, Answerer: e.answerer, OpenList: folder.OpenList, SignerEnds: e.keys.NotAfter, Polls: e.mirror.Polls, Failure: e.mirror.Failure,
		Page: page.Handler(repository{e.mirror, c.Settings.URL, c.Now}), Metrics: e.metrics, MetricsApart: e.scraped != nil, Version: c.Version, Log: c.Log.Named("http"), Now: c.Now,
	})
	e.handler, e.scrape = server, server.Metrics()
	e.publish = publish.New(publish.Config{
		Source: published{e.mirror, folder}, Reporter: reporter{client, c.Settings.Name}, Credentials: c.Settings.Credentials,
		Directories: c.Settings.PublishDirectories, Now: c.Now, Log: c.Log.Named("publish"),
	})
	e.mirror.Load()
	e.configureOnce()
	return e, nil
}

// metrics writes what the rooms beside serve measure.
func (e *Edge) metrics(w io.Writer) {
	e.listener.metrics(w)
	e.publish.Metrics(w)
}

// MetricsAddress returns where metrics are, Address when they have no listener of their
// own.
func (e *Edge) MetricsAddress() string {
	if e.scraped == nil {
		return e.Address()
	}
	return e.scraped.Addr().String()
}

// Address returns where the edge listens.
func (e *Edge) Address() string { return e.listener.Addr().String() }

// Run serves and follows the mount until the context ends, drains what is under way,
// and gives up what New has taken.
func (e *Edge) Run(ctx context.Context) error {
	defer func() { _ = e.folder.Close() }() // the lock ends with the process, too
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { e.mirror.Run(ctx) })
	group.Go(func() { e.configure(ctx) })
	group.Go(func() { e.prepare(ctx) })
	group.Go(func() { e.publish.Run(ctx) })
	e.config.Log.Info("serving", "address", e.Address(), "version", e.config.Version, "name", e.config.Settings.Name)
	if e.scraped != nil {
		group.Go(func() {
			if err := serveUntil(ctx, e.scraped, e.scrape, e.config.Settings.Listen, e.config.Log); err != nil {
				e.config.Log.Error("metrics are not served any more", "error", err)
			}
		})
	}
	err := serveUntil(ctx, e.listener, e.handler, e.config.Settings.Listen, e.config.Log)
	stop()
	group.Wait()
	e.keys.Close()
	e.config.Log.Info("ended")
	return err
}

// configure has OCSP answered as the mount says, whenever it says something else.
func (e *Edge) configure(ctx context.Context) {
	for {
		changed := e.configureOnce()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// configureOnce takes over what the mount says, if that is new, and returns a channel
// that is closed when it may be. Before the mount has said anything the defaults hold.
func (e *Edge) configureOnce() <-chan struct{} {
	snapshot, changed := e.mirror.Changed()
	if wanted := snapshot.Manifest.OCSP; snapshot.Issuers != nil && wanted != e.configured {
		e.configured = wanted
		e.answerer.Configure(settings(wanted))
	}
	return changed
}

// prepare sees to the OCSP signers, at once when the mount has other issuers.
func (e *Edge) prepare(ctx context.Context) {
	ticker := time.NewTicker(prepareEvery)
	defer ticker.Stop()
	for {
		snapshot, changed := e.mirror.Changed()
		e.keys.Prepare(ctx, snapshot)
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
