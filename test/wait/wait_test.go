package wait //nolint:testpackage // it shortens the patience

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// brief returns a watch that is patient for two seconds and a bit.
func brief(signs ...Sign) *Watch {
	w := New(signs...)
	w.patience = 2*rest + rest/2
	return w
}

func TestAWaitEndsWithItsCondition(t *testing.T) {
	looks := 0
	Until(t, "three looks were taken", func() bool { looks++; return looks == 3 })
	values := make(chan int, 1)
	values <- 7
	require.Equal(t, 7, Receive(t, "a value", values))
	ctx, cancel := Context(t.Context())
	require.NoError(t, ctx.Err())
	cancel()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

func TestAWaitFailsWhenNothingMoves(t *testing.T) {
	never := func() bool { return false }
	require.ErrorContains(t, brief().until(t.Context(), never), "nothing has moved for")
	busyLook := func() bool {
		n := 0
		for began := time.Now(); time.Since(began) < 5*time.Millisecond; {
			n++
		}
		return n == 0
	}
	require.ErrorContains(t, brief().until(t.Context(), busyLook), "nothing has moved for", "looking is no progress")
	require.ErrorContains(t, brief(func() any { return 1 }).until(t.Context(), never), "nothing has moved for")
}

func TestAWaitGoesOnWhileAnythingMoves(t *testing.T) {
	began := time.Now()
	late := func() bool { return time.Since(began) > 5*rest }
	for name, begin := range map[string]func(t *testing.T) []Sign{
		"a sign": func(*testing.T) []Sign {
			count := 0
			return []Sign{func() any { count++; return count }}
		},
		"a child that works": func(t *testing.T) []Sign {
			child := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
			require.NoError(t, child.Start())
			t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
			return nil
		},
		"this process": func(t *testing.T) []Sign {
			ended := make(chan struct{})
			t.Cleanup(func() { close(ended) })
			go func() {
				for n := 0; ; n++ {
					select {
					case <-ended:
						return
					default:
					}
				}
			}()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			signs := begin(t)
			began = time.Now()
			require.NoError(t, brief(signs...).until(t.Context(), late))
		})
	}
}
