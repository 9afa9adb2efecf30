package publisher

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// MaxPublishers is the most publishers of one mount: all of them are in each manifest.
const MaxPublishers = 100

// recordVersion is the version that stored records carry.
const recordVersion = 1

// record is what is stored of one publisher.
type record struct {
	Settings Settings `json:"settings"`
	Version  int64    `json:"version"`
}

// Config says what a Service works on.
type Config struct {
	Store kv.Store
	Now   func() time.Time
}

// Service keeps the publishers of one mount. All methods may be called at the same
// time.
type Service struct {
	now        func() time.Time
	edge       kv.Table[Edge]
	publishers kv.Table[record]
	reports    kv.Table[reports]

	writing sync.Mutex // one write at a time
	known   atomic.Pointer[snapshot]

	reporting sync.Mutex // guards heard
	heard     map[string]*reports
}

// snapshot is everything but the reports; immutable.
type snapshot struct {
	edge       Edge
	repository feed.Repository
	publishers map[string]record
}

// New returns a service that has touched no storage.
func New(config Config) *Service {
	return &Service{
		now:        config.Now,
		edge:       kv.NewTable[Edge](config.Store, layout.ConfigEdge, recordVersion),
		publishers: kv.NewTable[record](config.Store, layout.Publisher, recordVersion),
		reports:    kv.NewTable[reports](config.Store, layout.PublisherStatus, recordVersion),
		heard:      map[string]*reports{},
	}
}

// Invalidate drops what was read from a storage key that another node has written.
func (s *Service) Invalidate(key string) {
	s.known.Store(nil)
	if name, found := strings.CutPrefix(key, layout.PublisherStatus); found {
		s.reporting.Lock()
		defer s.reporting.Unlock()
		delete(s.heard, name)
	}
}

// read returns the snapshot: from memory, else from storage with one List and a Get
// each.
func (s *Service) read(ctx context.Context) (*snapshot, error) {
	if known := s.known.Load(); known != nil {
		return known, nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.load(ctx)
}

// load is read for a caller that holds writing.
func (s *Service) load(ctx context.Context) (*snapshot, error) {
	if known := s.known.Load(); known != nil {
		return known, nil
	}
	edge := DefaultEdge()
	stored, err := s.edge.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if stored != nil {
		edge = *stored
	}
	next := &snapshot{edge: edge, publishers: map[string]record{}}
	if next.repository, err = edge.repository(); err != nil {
		return nil, err
	}
	all, err := s.publishers.All(ctx)
	if err != nil {
		return nil, err
	}
	for name, r := range all {
		next.publishers[name] = *r
	}
	s.known.Store(next)
	return next, nil
}

// Edge returns config/edge, defaults included.
func (s *Service) Edge(ctx context.Context) (Edge, error) {
	known, err := s.read(ctx)
	if err != nil {
		return Edge{}, err
	}
	return known.edge, nil
}

// Repository returns what edges are told of config/edge.
func (s *Service) Repository(ctx context.Context) (feed.Repository, error) {
	known, err := s.read(ctx)
	if err != nil {
		return feed.Repository{}, err
	}
	return known.repository, nil
}

// AmendEdge changes config/edge under the lock of all writes, so that of two changes at a
// time neither is lost (race-1), and returns what it says then.
func (s *Service) AmendEdge(ctx context.Context, change func(*Edge) error) (Edge, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	known, err := s.load(ctx)
	if err != nil {
		return Edge{}, err
	}
	edge := known.edge
	if err := change(&edge); err != nil {
		return Edge{}, err
	}
	return edge, s.putEdge(ctx, edge)
}

// PutEdge checks and stores config/edge.
func (s *Service) PutEdge(ctx context.Context, edge Edge) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.putEdge(ctx, edge)
}

// putEdge is PutEdge for a caller that holds writing.
func (s *Service) putEdge(ctx context.Context, edge Edge) error {
	if _, err := edge.repository(); err != nil {
		return err
	}
	defer s.known.Store(nil) // what is there now is read, whatever became of the write
	return s.edge.Put(ctx, "", &edge)
}

// Names returns the names of all publishers, sorted.
func (s *Service) Names(ctx context.Context) ([]string, error) {
	known, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(known.publishers)), nil
}

// Get returns the settings of a publisher, and its version. NotFound.
func (s *Service) Get(ctx context.Context, name string) (Settings, int64, error) {
	known, err := s.read(ctx)
	if err != nil {
		return Settings{}, 0, err
	}
	r, found := known.publishers[name]
	if !found {
		return Settings{}, 0, unknown(name)
	}
	return r.Settings, r.Version, nil
}

// Put checks and stores a publisher under a canonical name, and returns its version.
// Versions follow the clock, so that one that was deleted and made anew differs.
func (s *Service) Put(ctx context.Context, name string, settings Settings) (version int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.put(ctx, name, settings)
}

// Amend changes a stored publisher under the lock of all writes, so that of two changes
// at a time neither is lost, and a deleted publisher does not come back (race-1). It
// returns what is stored then. NotFound when there is none.
func (s *Service) Amend(ctx context.Context, name string, change func(*Settings) error) (Settings, int64, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	known, err := s.load(ctx)
	if err != nil {
		return Settings{}, 0, err
	}
	before, found := known.publishers[name]
	if !found {
		return Settings{}, 0, unknown(name)
	}
	settings := before.Settings
	if err := change(&settings); err != nil {
		return Settings{}, 0, err
	}
	version, err := s.put(ctx, name, settings)
	return settings, version, err
}

func unknown(name string) error {
	return fault.New(fault.NotFound, "publisher %s does not exist", name)
}

// put is Put for a caller that holds writing.
func (s *Service) put(ctx context.Context, name string, settings Settings) (version int64, err error) {
	if err := settings.check(); err != nil {
		return 0, err
	}
	known, err := s.load(ctx)
	if err != nil {
		return 0, err
	}
	before, found := known.publishers[name]
	if !found && len(known.publishers) >= MaxPublishers {
		return 0, fault.New(fault.TooLarge, "there are %d publishers, and no more are kept", MaxPublishers)
	}
	version = max(s.now().UnixMilli(), before.Version+1)
	defer s.known.Store(nil)
	return version, s.publishers.Put(ctx, name, &record{Settings: settings, Version: version})
}

// Delete removes a publisher and what was reported of it; one that is not there is no
// error. If we crash in between, a status without a publisher is left, which nobody
// reads and the next publisher of that name takes over.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	defer s.known.Store(nil)
	// What a newer release has written stays.
	if _, err := s.publishers.Get(ctx, name); err != nil {
		return err
	}
	if _, err := s.reports.Get(ctx, name); err != nil {
		return err
	}
	if err := s.publishers.Delete(ctx, name); err != nil {
		return err
	}
	s.reporting.Lock()
	delete(s.heard, name)
	s.reporting.Unlock()
	return s.reports.Delete(ctx, name)
}

// All returns all publishers as edges are told, by name.
func (s *Service) All(ctx context.Context) ([]feed.Publisher, error) {
	known, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]feed.Publisher, 0, len(known.publishers))
	for _, name := range slices.Sorted(maps.Keys(known.publishers)) {
		all = append(all, known.publishers[name].told(name))
	}
	return all, nil
}

// The attributes of RFC 4523, transferred as binary (section 2).
const (
	defaultCRL           = "certificateRevocationList;binary"
	defaultDeltaCRL      = "deltaRevocationList;binary"
	defaultCACertificate = "cACertificate;binary"
)
