package issue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func TestUniqueKeysBelongToOneOwner(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	base, err := profile.FromPreset("tls-server")
	require.NoError(t, err)
	base.UniqueKey = true
	_, err = m.catalog.PutProfile(ctx, "unique", base)
	require.NoError(t, err)
	bound := role.DefaultConfigFor("unique", base)
	bound.AllowedDomains, bound.AllowSubdomains = []string{"example.com"}, true
	require.NoError(t, m.catalog.PutRole(ctx, "web", bound))
	key := newKey(t)
	ask := func(owner string) error {
		_, err := m.issue.Sign(ctx, issue.Request{Role: "web", CSR: csr(t, key, "a.example.com"), Note: issue.Annotation{Owner: owner}}, role.Identity{})
		return err
	}
	require.NoError(t, ask("one"))
	require.NoError(t, ask("one"))
	require.ErrorContains(t, ask("two"), "unique_key")

	// Within one batch, and of requests at the same time, one owner gets the key.
	batch := func(owners ...string) (issued map[string]int) {
		shared := newKey(t)
		var requests []issue.Request
		for _, owner := range owners {
			requests = append(requests, issue.Request{Role: "web", CSR: csr(t, shared, "a.example.com"), Note: issue.Annotation{Owner: owner}})
		}
		outcomes, err := m.issue.Batch(ctx, requests, role.Identity{})
		require.NoError(t, err)
		issued = map[string]int{}
		for n, outcome := range outcomes {
			if outcome.Err != nil {
				require.ErrorContains(t, outcome.Err, "unique_key")
				continue
			}
			issued[owners[n]]++
		}
		return issued
	}
	for range 8 {
		issued := batch("one", "two", "three", "one", "two", "three")
		require.Len(t, issued, 1)
	}
	require.Equal(t, map[string]int{"one": 3}, batch("one", "one", "one"))

	key = newKey(t)
	var group errgroup.Group
	var granted atomic.Int32
	for _, owner := range []string{"a", "b", "c", "d"} {
		group.Go(func() error {
			if ask(owner) == nil {
				granted.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, 1, granted.Load())

	key = newKey(t)
	refused := issue.Request{Role: "web", CSR: csr(t, key, "a.example.com"), TTL: time.Nanosecond, Note: issue.Annotation{Owner: "a"}}
	_, err = m.issue.Simulate(ctx, refused, role.Identity{})
	require.Error(t, err)
	refused.TTL = 0
	_, err = m.issue.Simulate(ctx, refused, role.Identity{})
	require.NoError(t, err)
	require.NoError(t, ask("b"), "what was not issued claims nothing")
}
