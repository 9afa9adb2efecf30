package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// revokeTasks measures revocation in the default configuration, in which the built-in
// engine makes its CRL before it answers, and this one within rebuild_delay.
func revokeTasks(ctx context.Context, b *bench, setting int) (ours, builtIn task, err error) {
	if err := b.revokeUntil(ctx, setting); err != nil {
		return task{}, task{}, err
	}
	if ours, err = b.revokeTask(ctx, b.revocations.ours); err != nil {
		return task{}, task{}, err
	}
	builtIn, err = b.revokeTask(ctx, b.revocations.builtIn)
	b.revoked += b.config.spent()
	return ours, builtIn, err
}

// spent is how many certificates a point of revoke takes.
func (c Config) spent() int { return 2 * rounds * c.Scarce }

func (b *bench) revokeTask(ctx context.Context, m *mount) (task, error) {
	serials, err := b.stock(ctx, m, b.config.spent())
	if err != nil {
		return task{}, err
	}
	return revocations(m, serials), nil
}

// revocations revokes each certificate once.
func revocations(m *mount, serials []string) task {
	requests := make([]request, len(serials))
	for i, serial := range serials {
		requests[i] = revocation(m, serial)
	}
	check := func(answer []byte) error {
		var done struct {
			At int64 `json:"revocation_time"`
		}
		if err := decode(answer, &done); err != nil {
			return err
		}
		if done.At == 0 {
			return errors.New("a revocation was answered without its time")
		}
		return nil
	}
	return task{units: 1, next: each(requests), check: check}
}

func revocation(m *mount, serial string) request {
	return request{method: http.MethodPost, path: m.path + "/revoke", body: encode(map[string]any{"serial_number": serial})}
}

// crlTasks measures crl/rotate, which answers when all CRLs of the mount are made.
func crlTasks(ctx context.Context, b *bench, setting int) (ours, builtIn task, err error) {
	if err := b.revokeUntil(ctx, setting); err != nil {
		return task{}, task{}, err
	}
	rotate := func(m *mount) task {
		return task{units: 1, next: turns([]request{{method: http.MethodGet, path: m.path + "/crl/rotate"}})}
	}
	return rotate(b.revocations.ours), rotate(b.revocations.builtIn), nil
}

// revokeUntil brings both mounts of revocations to so many revoked certificates.
func (b *bench) revokeUntil(ctx context.Context, count int) error {
	if b.revocations == nil {
		made, err := b.newPair(ctx)
		if err != nil {
			return err
		}
		b.revocations = made
	}
	missing := count - b.revoked
	if missing <= 0 {
		return nil
	}
	fmt.Fprintf(b.config.Progress, "preparing: revoking %d certificates in both engines\n", missing)
	b.revoked = count
	if err := b.revokeMany(ctx, b.revocations.ours, missing); err != nil {
		return err
	}
	// With auto_rebuild the built-in engine does not make a CRL per revocation: only so
	// does the preparation end in time. Back in the default it makes one.
	config := b.revocations.builtIn.path + "/config/crl"
	if err := b.client.post(ctx, config, map[string]any{"auto_rebuild": true}, nil); err != nil {
		return err
	}
	if err := b.revokeMany(ctx, b.revocations.builtIn, missing); err != nil {
		return err
	}
	return b.client.post(ctx, config, map[string]any{"auto_rebuild": false}, nil)
}

// revokeMany issues and revokes certificates and says how long it took.
func (b *bench) revokeMany(ctx context.Context, m *mount, count int) error {
	begin := time.Now()
	serials, err := b.stock(ctx, m, count)
	if err != nil {
		return err
	}
	issued := time.Now()
	err = b.spread(ctx, count, func(ctx context.Context, n int, buffer *bytes.Buffer) error {
		return b.client.send(ctx, revocation(m, serials[n]), buffer)
	})
	fmt.Fprintf(b.config.Progress, "  %s: issued in %.1f s, revoked in %.1f s\n",
		m.path, issued.Sub(begin).Seconds(), time.Since(issued).Seconds())
	return err
}

// serialNumber reads hexadecimal octets with colons between them.
func serialNumber(text string) (*big.Int, error) {
	serial, ok := new(big.Int).SetString(strings.ReplaceAll(text, ":", ""), 16)
	if !ok {
		return nil, fmt.Errorf("reading serial number %q: not hexadecimal", text)
	}
	return serial, nil
}
