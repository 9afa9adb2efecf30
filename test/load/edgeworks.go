package load

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/crypto/ocsp"
	"golang.org/x/sync/errgroup"
)

// asking makes the request about a certificate that an edge gets.
type asking func(e *edge, serial string) (request, error)

// edgeTasks compares an edge that keeps its answers with the built-in engine's OCSP
// through Vault, by GET.
func edgeTasks(ask asking) func(context.Context, *bench, int) (ours, builtIn task, err error) {
	return func(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
		return b.edgeTasks(ctx, ask, asked)
	}
}

// signedTasks has the edge asked about more certificates in turn than it keeps
// answers, so that it signs each.
func signedTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	return b.edgeTasks(ctx, (*edge).getStatus, b.config.Edge.Distinct)
}

func (b *bench) edgeTasks(ctx context.Context, ask asking, count int) (ours, builtIn task, err error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return task{}, task{}, err
	}
	e, err := b.edgeOf(ctx, mounts.ours)
	if err != nil {
		return task{}, task{}, err
	}
	if missing := count - len(b.known); missing > 0 {
		more, err := b.stock(ctx, mounts.ours, missing)
		if err != nil {
			return task{}, task{}, err
		}
		b.known = append(b.known, more...)
	}
	requests := make([]request, count)
	for i, serial := range b.known[:count] {
		// Asking once also shows that the edge knows each.
		if _, err := e.untilSays(ctx, serial, ocsp.Good); err != nil {
			return task{}, task{}, err
		}
		if requests[i], err = ask(e, serial); err != nil {
			return task{}, task{}, err
		}
	}
	builtIn, err = b.ocspTask(ctx, mounts.builtIn)
	return statusTask(requests, e.root, e.address), builtIn, err
}

// edgeOf returns the edge of a mount, which runs.
func (b *bench) edgeOf(ctx context.Context, m *mount) (*edge, error) {
	if b.edge != nil && b.edge.mount == m {
		return b.edge, nil
	}
	e, err := b.newEdge(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := b.startEdge(e); err != nil {
		return nil, err
	}
	_, err = e.untilReady(ctx, 0)
	return e, err
}

// propagationWork names what propagation measures, for Config.Run.
const propagationWork = "propagation to the edge"

// propagationLimit is what a revocation may take until the edge shows it.
const propagationLimit = 5 * time.Second

// revokeEvery is the pause between two revocations: no part of the edge's interval of
// a second, so that they come at all moments between two of its questions.
const revokeEvery = 237 * time.Millisecond

// propagation revokes certificates for keyCompromise, one after another, and measures
// from each request until the edge says so by OCSP, and until it serves a CRL with it.
func (b *bench) propagation(ctx context.Context) ([]Figure, error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return nil, err
	}
	e, err := b.edgeOf(ctx, mounts.ours)
	if err != nil {
		return nil, err
	}
	serials, err := b.stock(ctx, mounts.ours, b.config.Edge.Revocations)
	if err != nil {
		return nil, err
	}
	path, err := e.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, serial := range serials {
		if _, err := e.untilSays(ctx, serial, ocsp.Good); err != nil {
			return nil, err
		}
	}
	told, listed := make([]time.Duration, len(serials)), make([]time.Duration, len(serials))
	group, ctx := errgroup.WithContext(ctx)
	for i, serial := range serials {
		group.Go(func() (err error) {
			told[i], listed[i], err = b.propagate(ctx, e, serial, path)
			return err
		})
		if err := pause(ctx, revokeEvery); err != nil {
			break // group knows why
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return b.propagated(told, listed), nil
}

// propagated turns what was seen into figures.
func (b *bench) propagated(told, listed []time.Duration) []Figure {
	var figures []Figure
	for _, seen := range []struct {
		where string
		times []time.Duration
	}{{"OCSP", told}, {"CRL", listed}} {
		for _, percent := range []int{50, 99} {
			f := Figure{
				Name: fmt.Sprintf("revoke until the edge's %s says so: p%d", seen.where, percent), At: len(seen.times),
				Value: percentile(seen.times, percent).Seconds(), Unit: "s",
			}
			if percent == 99 {
				f.Limit = propagationLimit.Seconds()
			}
			figures = append(figures, f)
			fmt.Fprintln(b.config.Progress, f)
		}
	}
	return figures
}

// propagate revokes one certificate and returns how long OCSP and CRL of the edge took.
func (b *bench) propagate(ctx context.Context, e *edge, serial, path string) (told, listed time.Duration, err error) {
	number, err := serialNumber(serial)
	if err != nil {
		return 0, 0, err
	}
	var buffer bytes.Buffer
	begin := time.Now()
	revoke := request{method: http.MethodPost, path: e.mount.path + "/revoke", body: encode(map[string]any{"serial_number": serial, "reason": "keyCompromise"})}
	if err := b.client.send(ctx, revoke, &buffer); err != nil {
		return 0, 0, err
	}
	at, err := e.untilSays(ctx, serial, ocsp.Revoked)
	if err != nil {
		return 0, 0, err
	}
	told = at.Sub(begin)
	at, err = e.until(ctx, "the CRL names "+serial, func(ctx context.Context) (bool, error) {
		der, err := e.get(ctx, path)
		if err != nil {
			return false, err
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return false, err
		}
		for i := range list.RevokedCertificateEntries {
			if list.RevokedCertificateEntries[i].SerialNumber.Cmp(number) == 0 {
				return true, list.CheckSignatureFrom(e.root)
			}
		}
		return false, nil
	})
	return told, at.Sub(begin), err
}
