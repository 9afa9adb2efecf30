package load

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// burstTasks has each slice begin with a full key pool and ask for no more keys than
// it holds. The built-in engine's slices wait for it too, since the pool is filled by
// the processor that they are measured on.
func burstTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	ours, builtIn, err = b.rsaTasks(ctx, b.config.Burst)
	if err != nil {
		return task{}, task{}, err
	}
	// The pool is filled once a key was asked for.
	var buffer bytes.Buffer
	if err := b.client.send(ctx, ours.next(), &buffer); err != nil {
		return task{}, task{}, err
	}
	full := func(ctx context.Context) error { return b.awaitKeys(ctx, b.certificates.ours, b.config.Burst) }
	ours.ready, builtIn.ready = full, full
	return ours, builtIn, nil
}

// beyondTasks has no pool at all, which is what requests find when it is empty.
func beyondTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	return b.rsaTasks(ctx, 0)
}

// rsaTasks compares issue with keys that the engines make; ours keeps so many ready.
func (b *bench) rsaTasks(ctx context.Context, pool int) (ours, builtIn task, err error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return task{}, task{}, err
	}
	if err := b.client.post(ctx, mounts.ours.path+"/config/keypool", map[string]any{"rsa_2048": pool}, nil); err != nil {
		return task{}, task{}, err
	}
	issue := func(m *mount) task {
		body := encode(map[string]any{"common_name": "host.example.com"})
		return task{units: 1, next: turns([]request{{method: http.MethodPost, path: m.path + "/issue/rsa", body: body}}), check: m.checkSigned}
	}
	return issue(mounts.ours), issue(mounts.builtIn), nil
}

// awaitKeys waits until so many RSA-2048 keys are ready.
func (b *bench) awaitKeys(ctx context.Context, m *mount, count int) error {
	ctx, cancel := wait.Context(ctx)
	defer cancel()
	var buffer bytes.Buffer
	for {
		var ready struct {
			RSA2048 int `json:"rsa_2048"`
		}
		if err := b.client.send(ctx, request{method: http.MethodGet, path: m.path + "/keypool/status"}, &buffer); err != nil {
			return fmt.Errorf("waiting for %d keys: %w", count, err)
		}
		if err := decode(buffer.Bytes(), &ready); err != nil {
			return err
		}
		if ready.RSA2048 >= count {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for %d keys, %d ready: %w", count, ready.RSA2048, err)
		}
	}
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
