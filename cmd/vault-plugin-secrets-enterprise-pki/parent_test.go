package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchParentEndsTheOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		parent := func() int {
			if time.Since(begin) >= 10*time.Second {
				return 1 // adopted by init
			}
			return 4711
		}
		var ended time.Duration
		watchParent(parent, time.Tick(time.Second), func() { ended = time.Since(begin) })
		require.Equal(t, 10*time.Second, ended)
	})
}
