// Package kvtest promises the one fake of the project: storage in memory that
// counts its operations and can, at the n-th write, lose the write or lose only
// its answer. Tests walk n over a whole use case and end with fsck.
package kvtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// ErrLost is what a lost operation answers.
var ErrLost = errors.New("kvtest: connection lost")

// Loss says what happens at the chosen operation.
type Loss int

// The losses. With LoseWrite nothing is written and the caller sees ErrLost; with
// LoseAnswer the value is written and the caller sees ErrLost all the same.
const (
	LoseNothing Loss = iota
	LoseWrite
	LoseAnswer
)

// Counts holds the number of operations by kind.
type Counts struct{ Gets, Puts, Deletes, Lists int }

// Total returns the number of all operations.
func (c Counts) Total() int { return c.Gets + c.Puts + c.Deletes + c.Lists }

// Store is a kv.Store in memory. The zero value is not usable; see New.
type Store struct {
	mu     sync.Mutex // guards all fields; held during one operation
	data   map[string][]byte
	counts Counts
	loss   Loss
	fuse   int
	keys   []string
}

var _ kv.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{data: map[string][]byte{}} }

// Break arms the lever: counting all operations from now, the n-th (from 1) fails
// as loss says, once. A lost Get or List just fails.
func (s *Store) Break(n int, loss Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fuse, s.loss = n, loss
}

// Broken reports whether an armed lever has been used up, and disarms it.
func (s *Store) Broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.loss != LoseNothing && s.fuse == 0
	s.loss = LoseNothing
	return used
}

// blow reports the loss due at this operation. The caller holds mu.
func (s *Store) blow() Loss {
	if s.loss == LoseNothing || s.fuse == 0 {
		return LoseNothing
	}
	s.fuse--
	if s.fuse == 0 {
		return s.loss
	}
	return LoseNothing
}

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Gets++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.blow() != LoseNothing {
		return nil, ErrLost
	}
	return slices.Clone(s.data[key]), nil
}

// Put implements kv.Store. It refuses values above kv.MaxValue.
func (s *Store) Put(ctx context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Puts++
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(value) > kv.MaxValue {
		return errors.New("kvtest: value larger than kv.MaxValue: " + key)
	}
	loss := s.blow()
	if loss == LoseWrite {
		return ErrLost
	}
	s.data[key] = append([]byte{}, value...)
	s.keys = append(s.keys, key)
	if loss == LoseAnswer {
		return ErrLost
	}
	return nil
}

// Delete implements kv.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Deletes++
	if err := ctx.Err(); err != nil {
		return err
	}
	loss := s.blow()
	if loss == LoseWrite {
		return ErrLost
	}
	delete(s.data, key)
	if loss == LoseAnswer {
		return ErrLost
	}
	return nil
}

// List implements kv.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Lists++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(prefix, "/") {
		return nil, errors.New("kvtest: prefix must end in a slash: " + prefix)
	}
	if s.blow() != LoseNothing {
		return nil, ErrLost
	}
	names := map[string]bool{}
	for key := range s.data {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i+1]
		}
		names[rest] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Counts returns the operations since the last Reset.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Reset sets the counts to zero and forgets the written keys.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.keys = Counts{}, nil
}

// Written returns the keys put since the last Reset, in order.
func (s *Store) Written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// Dump returns a copy of everything stored, by key.
func (s *Store) Dump() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string][]byte, len(s.data))
	for key, value := range s.data {
		all[key] = slices.Clone(value)
	}
	return all
}

// Clone returns an independent store with the same content and fresh counts.
func (s *Store) Clone() *Store { return &Store{data: s.Dump()} }
