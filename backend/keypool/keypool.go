// Package keypool promises that a burst of requests for RSA keys does not wait for
// prime search: keys are made ahead in the background while the mount is idle, kept
// in memory alone, and each is handed out once.
package keypool

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Settings are config/keypool: how many keys of each size are kept ready. A size is
// filled only after a key of it was asked for, so a mount without RSA costs nothing.
type Settings struct {
	RSA2048 int `json:"rsa_2048" default:"32" min:"0" max:"1024" doc:"Number of RSA-2048 keys to generate in advance, after the first request for one. With 0, each key is generated on request."`
	RSA3072 int `json:"rsa_3072" default:"8" min:"0" max:"256" doc:"Number of RSA-3072 keys to generate in advance, after the first request for one. With 0, each key is generated on request."`
	RSA4096 int `json:"rsa_4096" default:"4" min:"0" max:"128" doc:"Number of RSA-4096 keys to generate in advance, after the first request for one. With 0, each key is generated on request."`
}

// DefaultSettings returns the settings of a mount that was never told otherwise.
func DefaultSettings() Settings { return Settings{RSA2048: 32, RSA3072: 8, RSA4096: 4} }

// size returns how many keys of an algorithm are kept ready. Keys on curves are made
// faster than they are looked up.
func (s Settings) size(spec cert.KeySpec) int {
	switch spec {
	case cert.RSA2048:
		return s.RSA2048
	case cert.RSA3072:
		return s.RSA3072
	case cert.RSA4096:
		return s.RSA4096
	}
	return 0
}

// sizes are the algorithms whose keys are worth making ahead, the cheapest first.
var sizes = []cert.KeySpec{cert.RSA2048, cert.RSA3072, cert.RSA4096}

// Idle is how long a mount must have made no certificate before a key is made ahead:
// prime search must not compete with requests for the processor.
const Idle = 200 * time.Millisecond

// Config says what a Pool works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger
	Now   func() time.Time
	// Generate makes a key; nil is cert.GenerateKey.
	Generate func(spec cert.KeySpec) (crypto.Signer, error)
}

// Pool is the keys that one mount has ready.
type Pool struct {
	config   Config
	table    kv.Table[Settings]
	settings atomic.Pointer[Settings]
	writing  sync.Mutex   // whoever holds it is the only one that changes config/keypool
	active   atomic.Int64 // when Touch was last called, in nanoseconds since 1970
	ctx      context.Context
	cancel   context.CancelFunc

	mu      sync.Mutex // guards ready, wanted and filling; not held while a key is made
	ready   map[cert.KeySpec][]crypto.Signer
	wanted  map[cert.KeySpec]bool // sizes that were asked for
	filling bool                  // a goroutine is filling
}

// New returns an empty pool that has touched no storage and started nothing.
func New(config Config) *Pool {
	if config.Generate == nil {
		config.Generate = cert.GenerateKey
	}
	p := &Pool{
		config: config, table: kv.NewTable[Settings](config.Store, layout.ConfigKeyPool, 1),
		ready: map[cert.KeySpec][]crypto.Signer{}, wanted: map[cert.KeySpec]bool{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Touch notes that the mount is busy.
func (p *Pool) Touch() { p.active.Store(p.config.Now().UnixNano()) }

// Take returns a key that nobody else has or gets: a ready one, or one made now. It
// touches no storage once the settings are loaded.
func (p *Pool) Take(ctx context.Context, spec cert.KeySpec) (crypto.Signer, error) {
	settings, err := p.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if key := p.pop(spec, settings.size(spec)); key != nil {
		return key, nil
	}
	return p.config.Generate(spec)
}

// pop hands out a ready key, nil when there is none, and sees that the pool is filled.
func (p *Pool) pop(spec cert.KeySpec, size int) (key crypto.Signer) {
	if size == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys := p.ready[spec]; len(keys) > 0 {
		last := len(keys) - 1
		key, keys[last] = keys[last], nil // the slice must not keep the key alive
		p.ready[spec] = keys[:last]
	}
	p.wanted[spec] = true
	if !p.filling && p.ctx.Err() == nil {
		p.filling = true
		go p.fill()
	}
	return key
}

// fill makes keys until every size that was asked for is full, one at a time and only
// while the mount is idle.
func (p *Pool) fill() {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			p.config.Log.Error("making keys ahead panicked", "cause", what, "stack", stack)
			p.stop()
		}
	}()
	for p.awaitIdle() {
		spec, short := p.next()
		if !short {
			return
		}
		key, err := p.config.Generate(spec)
		if err != nil {
			p.config.Log.Warn("making a key ahead failed", "algorithm", spec.String(), "error", err)
			p.stop()
			return
		}
		p.mu.Lock()
		p.ready[spec] = append(p.ready[spec], key)
		p.mu.Unlock()
	}
	p.stop()
}

func (p *Pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filling = false
}

// awaitIdle waits until the mount has been idle for a while; false when it closes.
func (p *Pool) awaitIdle() bool {
	for {
		left := Idle - p.config.Now().Sub(time.Unix(0, p.active.Load()))
		if left <= 0 {
			return p.ctx.Err() == nil
		}
		select {
		case <-p.ctx.Done():
			return false
		case <-time.After(left):
		}
	}
}

// next returns a size that is not full. When all are, it ends the filling under the
// lock, so that a key taken right after starts it again.
func (p *Pool) next() (cert.KeySpec, bool) {
	settings := p.settings.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, spec := range sizes {
		if settings != nil && p.wanted[spec] && len(p.ready[spec]) < settings.size(spec) {
			return spec, true
		}
	}
	p.filling = false
	return cert.KeySpec{}, false
}

// Ready returns how many keys of an algorithm are ready.
func (p *Pool) Ready(spec cert.KeySpec) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready[spec])
}

// Settings returns config/keypool, from memory after the first time.
func (p *Pool) Settings(ctx context.Context) (Settings, error) {
	if known := p.settings.Load(); known != nil {
		return *known, nil
	}
	stored, err := p.table.Get(ctx, "")
	if err != nil {
		return Settings{}, fmt.Errorf("reading config/keypool: %w", err)
	}
	if stored == nil {
		defaults := DefaultSettings()
		stored = &defaults
	}
	p.settings.CompareAndSwap(nil, stored)
	return *stored, nil
}

// AmendSettings changes config/keypool under one lock, so that of two changes at a time
// neither is lost (race-1), and returns what it says then.
func (p *Pool) AmendSettings(ctx context.Context, change func(*Settings) error) (Settings, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	settings, err := p.Settings(ctx)
	if err != nil {
		return Settings{}, err
	}
	if err := change(&settings); err != nil {
		return Settings{}, err
	}
	return settings, p.putSettings(ctx, settings)
}

// PutSettings stores config/keypool. Keys beyond a smaller size are dropped.
func (p *Pool) PutSettings(ctx context.Context, settings Settings) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.putSettings(ctx, settings)
}

// putSettings is PutSettings for a caller that holds writing.
func (p *Pool) putSettings(ctx context.Context, settings Settings) error {
	for _, spec := range sizes {
		if settings.size(spec) < 0 {
			return fault.New(fault.Invalid, "the number of %s keys must not be negative", spec)
		}
	}
	if err := p.table.Put(ctx, "", &settings); err != nil {
		p.settings.Store(nil) // the write may have happened all the same
		return err
	}
	p.settings.Store(&settings)
	p.mu.Lock()
	defer p.mu.Unlock()
	for spec, keys := range p.ready {
		if size := settings.size(spec); len(keys) > size {
			clear(keys[size:])
			p.ready[spec] = keys[:size]
		}
	}
	return nil
}

// Invalidate forgets the settings after another node changed them.
func (p *Pool) Invalidate() { p.settings.Store(nil) }

// Close ends the filling and drops the keys. It returns at once.
func (p *Pool) Close() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.ready)
}
