package fsck

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/job"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// CheckLive is CheckAt for a mount that is written to meanwhile: what is found broken is
// looked for once more, and what is not found again, at the same key and in the same
// words, was only seen while it changed. Counts and notices are those of the last look.
func CheckLive(ctx context.Context, store kv.Store, now time.Time) (Report, error) {
	first, err := CheckAt(ctx, store, now)
	if err != nil || first.Err() == nil {
		return first, err
	}
	second, err := CheckAt(ctx, store, now)
	if err != nil {
		return second, err
	}
	second.Findings = slices.DeleteFunc(second.Findings, func(f Finding) bool {
		return f.Severity == Broken && !slices.Contains(first.Findings, f)
	})
	return second, nil
}

// State says where a check is.
type State string

// The states.
const (
	Idle      State = "idle" // this process has made none
	Running   State = "running"
	Finished  State = "finished"
	Cancelled State = "cancelled"
	Failed    State = "error" // storage could not be read
)

// Status is what is known of a check, the one under way or the last.
type Status struct {
	State    State
	Started  time.Time
	Finished time.Time
	Error    string
	Report   Report // once finished
}

// Config says what a Service works on. A nil Log discards.
type Config struct {
	Store kv.Store
	Log   hclog.Logger
	Now   func() time.Time
}

// Service checks one mount in the background, one check at a time.
type Service struct {
	config Config
	job    *job.Job

	mu     sync.Mutex // guards status
	status Status
}

// NewService returns a service that has checked nothing.
func NewService(config Config) *Service {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	return &Service{config: config, job: job.New("fsck", config.Log), status: Status{State: Idle}}
}

// Start begins a check and returns at once; false when one is under way.
func (s *Service) Start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var report Report
	began := s.job.Start(func(ctx context.Context) (err error) {
		report, err = CheckLive(ctx, s.config.Store, s.config.Now())
		return err
	}, func(err error) { s.end(report, err) })
	if began {
		s.status = Status{State: Running, Started: s.config.Now().UTC()}
	}
	return began
}

func (s *Service) end(report Report, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Finished = s.config.Now().UTC()
	switch {
	case err == nil:
		s.status.State, s.status.Report = Finished, report
		if broken := report.Broken(); broken > 0 {
			s.config.Log.Error("storage is not whole", "findings", broken)
		}
	case errors.Is(err, context.Canceled):
		s.status.State = Cancelled
	default:
		s.status.State, s.status.Error = Failed, err.Error()
	}
	s.job.Free()
}

// Status returns the check under way, or the last one of this process.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Cancel asks the check under way to end, and reports whether there was any.
func (s *Service) Cancel() bool { return s.job.Cancel() }

// Close cancels the check under way; it does not wait for it.
func (s *Service) Close() { s.job.Close() }
