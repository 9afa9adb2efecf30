package load

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	// edgeMemory is what an edge may take, in MiB, and edgeStart how long after its start
	// from disk it may be of no use.
	edgeMemory = 150
	edgeStart  = 15 * time.Second
)

// startAnEdge measures an edge that begins with nothing, and its restart with what is
// on disk. Then it is stopped: what follows measures the plugin by itself.
func (h *holding) startAnEdge(ctx context.Context) error {
	e, err := h.newEdge(ctx, h.ours)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := h.startEdge(e); err != nil {
		return err
	}
	if err := h.sawReady(ctx, "edge, from nothing until ready", began, 0); err != nil {
		return err
	}
	if err := h.sawEdgeMemory("edge, all loaded: resident"); err != nil {
		return err
	}
	if err := h.stopEdge(); err != nil {
		return err
	}
	began = time.Now()
	if err := h.startEdge(e); err != nil {
		return err
	}
	if err := h.sawReady(ctx, "edge, from disk until ready", began, edgeStart); err != nil {
		return err
	}
	if err := h.sawEdgeMemory("edge, from disk: resident"); err != nil {
		return err
	}
	h.waiting = e
	return h.stopEdge()
}

// sawReady notes when the edge is ready with all certificates that fill issued.
func (h *holding) sawReady(ctx context.Context, name string, began time.Time, limit time.Duration) error {
	ready, err := h.edge.untilReady(ctx, len(h.serials))
	if err != nil {
		return err
	}
	h.sawTime(name, ready.Sub(began), limit)
	return h.stillSays(ctx, ocsp.Good)
}

// stillSays looks whether the edge says so of the first and the last certificate.
func (h *holding) stillSays(ctx context.Context, status int) error {
	for _, serial := range []string{h.serials[0], h.serials[len(h.serials)-1]} {
		if _, err := h.edge.untilSays(ctx, serial, status); err != nil {
			return err
		}
	}
	return nil
}

// sawEdgeMemory notes what the edge has in memory, and its peak since the last time.
func (h *holding) sawEdgeMemory(name string) error {
	m, err := memoryOf(h.edge.id())
	if err != nil {
		return err
	}
	h.sawBoth(name, m, edgeMemory)
	return resetPeakOf(h.edge.id())
}

// catchUp starts the edge after all certificates were revoked without it, and fetches
// the CRL that names them from it, while the edge's peak is watched.
func (h *holding) catchUp(ctx context.Context) error {
	began := time.Now()
	if err := h.startEdge(h.waiting); err != nil {
		return err
	}
	if err := h.stillSays(ctx, ocsp.Revoked); err != nil {
		return err
	}
	h.sawTime("edge, all revoked, until it knows", time.Since(began), 0)
	size, at, err := h.untilListed(ctx)
	if err != nil {
		return err
	}
	h.sawTime("edge, all revoked, until it has the CRL", at.Sub(began), 0)
	if err := h.sawEdgeMemory("edge, all revoked: resident"); err != nil {
		return err
	}
	began = time.Now()
	path, err := h.edge.list(ctx)
	if err != nil {
		return err
	}
	if _, err := h.edge.get(ctx, path); err != nil {
		return err
	}
	h.sawTime("CRL fetched from the edge", time.Since(began), 0)
	h.saw("CRL size at the edge", float64(size)/(1<<20), "MiB", 0)
	if err := h.sawEdgeMemory("edge, CRL fetched: resident"); err != nil {
		return err
	}
	if err := h.stopEdge(); err != nil {
		return err
	}
	began = time.Now()
	if err := h.startEdge(h.waiting); err != nil {
		return err
	}
	if _, err := h.edge.untilReady(ctx, len(h.serials)); err != nil {
		return err
	}
	h.sawTime("edge, all revoked, from disk until ready", time.Since(began), edgeStart)
	return errors.Join(h.stillSays(ctx, ocsp.Revoked), h.dropEdge())
}

// untilListed waits until the edge serves a CRL that names all certificates, and
// returns its size in octets and when that was.
func (h *holding) untilListed(ctx context.Context) (size int, at time.Time, err error) {
	var der []byte
	at, err = h.edge.until(ctx, "the edge has the CRL", func(ctx context.Context) (bool, error) {
		path, err := h.edge.list(ctx)
		if err != nil {
			return false, err
		}
		if der, err = h.edge.get(ctx, path); err != nil {
			return false, err
		}
		return len(der) > 20*len(h.serials), nil // an entry takes more than its serial number
	})
	if err != nil {
		return 0, at, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return 0, at, err
	}
	if err := list.CheckSignatureFrom(h.edge.root); err != nil {
		return 0, at, err
	}
	if found := len(list.RevokedCertificateEntries); found < len(h.serials) {
		return 0, at, fmt.Errorf("the edge's CRL names %d certificates, not all %d", found, len(h.serials))
	}
	return len(der), at, nil
}
