package paths

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// memory is how long an answer of Vault is believed. Each question is a call back
// to Vault, and every request would ask: the framework for the replication state and
// whether the mount is local, signing for the mount's leases. The first changes only
// when a node is promoted, and then a write on the wrong node is refused by storage;
// the second never; the leases when an operator tunes the mount.
const memory = 5 * time.Second

// systemView is Vault's system view with a memory.
type systemView struct {
	logical.SystemView
	now      func() time.Time
	state    remembered[consts.ReplicationState]
	local    remembered[bool]
	lease    remembered[time.Duration]
	maxLease remembered[time.Duration]
}

// remembered is one answer. Two callers who find it stale both ask.
type remembered[T any] struct{ last atomic.Pointer[answered[T]] }

type answered[T any] struct {
	value T
	until time.Time
}

func (r *remembered[T]) get(now time.Time, ask func() T) T {
	if last := r.last.Load(); last != nil && now.Before(last.until) {
		return last.value
	}
	value := ask()
	r.last.Store(&answered[T]{value: value, until: now.Add(memory)})
	return value
}

func remember(view logical.SystemView, now func() time.Time) *systemView {
	return &systemView{SystemView: view, now: now}
}

// ReplicationState implements logical.SystemView.
func (v *systemView) ReplicationState() consts.ReplicationState {
	return v.state.get(v.now(), v.SystemView.ReplicationState)
}

// LocalMount implements logical.SystemView.
func (v *systemView) LocalMount() bool {
	return v.local.get(v.now(), v.SystemView.LocalMount)
}

// DefaultLeaseTTL implements logical.SystemView.
func (v *systemView) DefaultLeaseTTL() time.Duration {
	return v.lease.get(v.now(), v.SystemView.DefaultLeaseTTL)
}

// MaxLeaseTTL implements logical.SystemView.
func (v *systemView) MaxLeaseTTL() time.Duration {
	return v.maxLease.get(v.now(), v.SystemView.MaxLeaseTTL)
}
