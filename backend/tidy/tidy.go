// Package tidy promises that what ended long ago leaves storage and memory, and
// nothing else: by hand or by itself, in the background, one run at a time, each
// bounded in what it holds up and ready to be cancelled.
package tidy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/job"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/places"
)

// Config says what a Service works on.
type Config struct {
	Store   kv.Store
	Ledger  *ledger.Ledger
	Issuers *issuer.Set
	CRL     *crl.Service
	OCSP    *ocsp.Responder
	Places  *places.Service
	Log     hclog.Logger
	Now     func() time.Time
}

// Service tidies one mount.
type Service struct {
	Config
	settings kv.Table[Settings]
	runs     kv.Table[Run]
	job      *job.Job
	started  time.Time
	luck     float64    // where between the backoffs the first run begins, from 0 to 1
	writing  sync.Mutex // whoever holds it is the only one that changes config/auto-tidy

	mu     sync.Mutex // guards what follows; not held over storage
	known  *Settings  // config/auto-tidy; nil: not read
	run    *Run       // the one under way or the last; nil: not read
	active bool       // it is under way
	closed bool
}

const (
	settingsVersion = 1
	runVersion      = 1
	// saveDeadline bounds the write that tells of a run's end.
	saveDeadline = time.Minute
)

// New returns a service that has touched no storage and started nothing. Startup
// backoffs count from here.
func New(config Config) *Service {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	var drawn [8]byte
	rand.Read(drawn[:])
	return &Service{
		Config:   config,
		settings: kv.NewTable[Settings](config.Store, layout.ConfigAutoTidy, settingsVersion),
		runs:     kv.NewTable[Run](config.Store, layout.TidyRun, runVersion),
		job:      job.New("tidy", config.Log),
		started:  config.Now(),
		luck:     float64(binary.BigEndian.Uint64(drawn[:])>>11) / (1 << 53),
	}
}

// Settings returns config/auto-tidy, defaults included.
func (s *Service) Settings(ctx context.Context) (Settings, error) {
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	stored, err := s.settings.Get(ctx, "")
	if err != nil {
		return Settings{}, err
	}
	if stored == nil {
		stored = new(DefaultSettings())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil { // a PutSettings in the meantime is newer
		s.known = stored
	}
	return *s.known, nil
}

// AmendSettings changes config/auto-tidy under one lock, so that of two changes at a
// time neither is lost (race-1), and returns what it says then.
func (s *Service) AmendSettings(ctx context.Context, change func(*Settings) error) (Settings, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	settings, err := s.Settings(ctx)
	if err != nil {
		return Settings{}, err
	}
	if err := change(&settings); err != nil {
		return Settings{}, err
	}
	return settings, s.putSettings(ctx, settings)
}

// PutSettings validates and stores config/auto-tidy.
func (s *Service) PutSettings(ctx context.Context, settings Settings) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.putSettings(ctx, settings)
}

// putSettings is PutSettings for a caller that holds writing.
func (s *Service) putSettings(ctx context.Context, settings Settings) error {
	if err := settings.check(); err != nil {
		return err
	}
	err := s.settings.Put(ctx, "", &settings)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = &settings
	if err != nil {
		s.known = nil // the write may have happened: read it again
	}
	return err
}

// Start begins a run and returns at once; false when one is under way. Unavailable
// until the ledger is loaded.
func (s *Service) Start(ctx context.Context, task Task) (bool, error) {
	if err := task.Check(); err != nil {
		return false, err
	}
	if !s.Ledger.Loaded() {
		return false, fault.New(fault.Unavailable, "the ledger is still loading; ask again in a moment")
	}
	return s.start(ctx, Run{Task: task})
}

func (s *Service) start(ctx context.Context, next Run) (bool, error) {
	last, err := s.Status(ctx)
	if err != nil {
		return false, err
	}
	next.State, next.Started, next.LastAuto = Running, s.Now().UTC(), last.LastAuto
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active || !s.job.Start(func(ctx context.Context) error { return s.do(ctx, next.Task) }, s.end) {
		return false, nil
	}
	s.run, s.active = &next, true
	s.Log.Info("tidy started", "by_itself", next.Auto)
	return true, nil
}

// end notes how the run ended, in storage first: who sees that it ended may start the
// next, and a restart does not begin again. When the process ends before, the next one
// does: a run that was cut short was none.
func (s *Service) end(err error) {
	s.mu.Lock()
	ended, closed := s.copied(), s.closed
	s.mu.Unlock()
	ended.Finished, ended.Message = s.Now().UTC(), ""
	switch {
	case err == nil:
		ended.State = Finished
	case errors.Is(err, context.Canceled):
		ended.State = Cancelled
	default:
		ended.State, ended.Error = Failed, err.Error()
	}
	if ended.Auto {
		ended.LastAuto = ended.Finished
	}
	s.Log.Info("tidy ended", "state", string(ended.State), "certificates", ended.Removed.Certificates,
		"revoked", ended.Removed.Revoked, "issuers", ended.Issuers, "error", ended.Error)
	if !closed {
		ctx, cancel := context.WithTimeout(context.Background(), saveDeadline)
		defer cancel()
		if err := s.runs.Put(ctx, "", &ended); err != nil {
			s.Log.Warn("the end of a tidy could not be noted", "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run, s.active = &ended, false
	s.job.Free()
}

// tell changes what is known of the run under way.
func (s *Service) tell(change func(*Run)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.run)
}

func (s *Service) warn(text string) {
	s.Log.Warn(text)
	s.tell(func(r *Run) { r.Warnings = append(r.Warnings, text) })
}

// copied returns the run as it is now. The caller holds mu.
func (s *Service) copied() Run {
	run := *s.run
	run.Warnings = slices.Clone(run.Warnings)
	return run
}

// Status returns the run under way, or the last one, of an earlier process too.
func (s *Service) Status(ctx context.Context) (Run, error) {
	s.mu.Lock()
	if s.run != nil {
		defer s.mu.Unlock()
		return s.copied(), nil
	}
	s.mu.Unlock()
	stored, err := s.runs.Get(ctx, "")
	if err != nil {
		return Run{}, err
	}
	if stored == nil {
		stored = &Run{State: Inactive, Task: DefaultTask()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.run = stored
	}
	return s.copied(), nil
}

// Cancel asks the run under way to end, and reports whether there was any.
func (s *Service) Cancel() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active || !s.job.Cancel() {
		return false
	}
	if s.run.State == Running {
		s.run.State = Cancelling
	}
	return true
}

// Tick starts a run when one is due, and returns at once.
func (s *Service) Tick(ctx context.Context) error {
	settings, err := s.Settings(ctx)
	if err != nil || !settings.Enabled || !s.Ledger.Loaded() {
		return err
	}
	now := s.Now()
	backoff := float64(settings.MinBackoff) + s.luck*float64(settings.MaxBackoff-settings.MinBackoff)
	if now.Before(s.started.Add(time.Duration(backoff * float64(time.Second)))) {
		return nil
	}
	last, err := s.Status(ctx)
	if err != nil {
		return err
	}
	// An end in the future was written under a clock that has been put right since.
	if due := last.Finished.Add(time.Duration(settings.Interval) * time.Second); now.Before(due) && !last.Finished.After(now) {
		return nil
	}
	_, err = s.start(ctx, Run{Task: settings.Task, Auto: true})
	return err
}

// Invalidate drops what was read from a storage key that another node has written.
func (s *Service) Invalidate(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch key {
	case layout.ConfigAutoTidy:
		s.known = nil
	case layout.TidyRun:
		if !s.active {
			s.run = nil
		}
	}
}

// Close cancels the run under way; it does not wait for it.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.job.Close()
}

func pemOf(i *issuer.Issuer) string { return cert.CertificatePEM(i.Certificate().Raw) }
