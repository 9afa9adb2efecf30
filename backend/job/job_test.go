package job_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/job"
)

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := job.New("counting", nil)
		var ended []error
		until := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		done := func(err error) { ended = append(ended, err) }
		require.False(t, j.Cancel(), "nothing to cancel")
		require.True(t, j.Start(until, done))
		require.False(t, j.Start(until, done))
		require.True(t, j.Cancel())
		synctest.Wait()
		require.Len(t, ended, 1)
		require.ErrorIs(t, ended[0], context.Canceled)
		require.False(t, j.Cancel())

		failure := errors.New("failure")
		require.True(t, j.Start(func(context.Context) error { return failure }, func(err error) {
			ended = append(ended, err)
			require.False(t, j.Start(until, done), "it ends when it was told of")
		}))
		synctest.Wait()
		require.Equal(t, failure, ended[1])
		require.True(t, j.Start(until, done))
		j.Close()
		synctest.Wait()
		require.ErrorIs(t, ended[2], context.Canceled)
		require.False(t, j.Start(until, done), "closed")
	})
}

// Who is told of the end may start the next at once, and what ended takes nothing of it.
func TestTheNextStartsOnceTheJobIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := job.New("counting", nil)
		until := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		var next error
		require.True(t, j.Start(func(context.Context) error { return nil }, func(error) {
			j.Free()
			require.False(t, j.Cancel(), "nothing to cancel")
			require.True(t, j.Start(until, func(err error) { next = err }))
		}))
		synctest.Wait()
		require.NoError(t, next, "it is under way, whatever else ended")
		require.False(t, j.Start(until, func(error) {}))
		require.True(t, j.Cancel())
		synctest.Wait()
		require.ErrorIs(t, next, context.Canceled)
	})
}

func TestPanicsAreOutlivedAndTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		j := job.New("counting", hclog.New(&hclog.LoggerOptions{Output: &log}))
		var ended error
		require.True(t, j.Start(func(context.Context) error { panic("swordfish") }, func(err error) { ended = err }))
		synctest.Wait()
		require.True(t, fault.Is(ended, fault.Internal))
		require.ErrorContains(t, ended, "counting")
		require.Contains(t, log.String(), "counting")
		require.NotContains(t, log.String()+ended.Error(), "swordfish")
	})
}
