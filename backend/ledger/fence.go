package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// fence writes, and so makes sure that what an earlier process had begun to write is
// there before this one reads. When a plugin is killed, Vault goes on with the writes
// that it had sent, and the next process may start meanwhile. A segment that arrived
// after Load had listed them would say of a certificate what it was before it was
// revoked, and nothing would tell the next Load. Raft carries out writes in their
// order, so all that came before this one are done when it is answered.
//
// What it writes is the chain of process starts, by which Changes knows whether a
// cursor of an earlier process still means something. Where another process writes at
// the same time, one of the two may be missing in the chain: then its cursors mean
// nothing, which costs their readers a walk from the start.
//
// A node that may not write has no one before it whose writes it would miss; its
// cursors are good for itself alone.
func (l *Ledger) fence(ctx context.Context) error {
	raw, err := l.store.Get(ctx, layout.Fence)
	if err != nil {
		return fmt.Errorf("reading %s: %w", layout.Fence, err)
	}
	chain, err := decodeFence(raw)
	if err != nil {
		return fmt.Errorf("reading %s: %w", layout.Fence, err)
	}
	if n := len(chain); n == 0 || chain[n-1].id != l.state.self.id {
		chain = append(chain, l.state.self)
	}
	return l.putFence(ctx, chain[max(len(chain)-maxChain, 0):])
}

// found completes the fence when Load has listed the segments. If we crash before it,
// this process has written no segment, and the next one finds the same.
func (l *Ledger) found(ctx context.Context, segment uint32) error {
	l.mu.RLock()
	chain := slices.Clone(l.state.chain)
	l.mu.RUnlock()
	chain[len(chain)-1].found = segment
	return l.putFence(ctx, chain)
}

func (l *Ledger) putFence(ctx context.Context, chain []birth) error {
	if err := l.store.Put(ctx, layout.Fence, encodeFence(chain)); err != nil && !fault.Is(err, fault.ReadOnly) {
		return fmt.Errorf("writing %s: %w", layout.Fence, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.chain = chain
	return nil
}

// birth is the start of a process.
type birth struct {
	id [8]byte // random
	// from is below every sequence number that the process gives out.
	from uint64
	// found is the number of the newest segment that was there.
	found uint32
}

// notKnown is birth.found before segments were listed.
const notKnown = 1<<32 - 1

const (
	// fenceVersion begins the fence; before there was a chain, it was fenceBare alone.
	fenceVersion = 2
	fenceBare    = 1
	maxChain     = 256
	birthLength  = 20
)

func encodeFence(chain []birth) []byte {
	b := make([]byte, 0, 1+len(chain)*birthLength)
	b = append(b, fenceVersion)
	for _, start := range chain {
		b = append(b, start.id[:]...)
		b = binary.BigEndian.AppendUint64(b, start.from)
		b = binary.BigEndian.AppendUint32(b, start.found)
	}
	return b
}

func decodeFence(raw []byte) ([]birth, error) {
	switch {
	case len(raw) == 0 || len(raw) == 1 && raw[0] == fenceBare:
		return nil, nil
	case raw[0] > fenceVersion:
		return nil, kv.Newer(layout.Fence, int(raw[0]), fenceVersion)
	case raw[0] != fenceVersion:
		return nil, fault.New(fault.Internal, "%d is no version of a fence of this length", raw[0])
	case (len(raw)-1)%birthLength != 0:
		return nil, fault.New(fault.Internal, "%d bytes are no chain of process starts", len(raw))
	}
	var chain []birth
	for entry := range slices.Chunk(raw[1:], birthLength) {
		chain = append(chain, birth{
			id: [8]byte(entry[:8]), from: binary.BigEndian.Uint64(entry[8:]), found: binary.BigEndian.Uint32(entry[16:]),
		})
	}
	return chain, nil
}

// CheckFence says what is wrong with a stored fence: for fsck.
func CheckFence(raw []byte) error {
	_, err := decodeFence(raw)
	return err
}
