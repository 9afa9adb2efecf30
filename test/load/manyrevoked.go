package load

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/crypto/ocsp"
)

// revokeSome measures revocations while few are revoked: of certificates that were
// issued one by one, and of those that share a page with their batch, which is read and
// written as a whole.
func (h *holding) revokeSome(ctx context.Context) error {
	some := make([]string, h.config.Many.Samples)
	for i := range some {
		some[i] = h.serials[i*len(h.serials)/len(some)]
	}
	if err := h.revokeOne(ctx, "revoke one, few revoked: p50"); err != nil {
		return err
	}
	name := fmt.Sprintf("revoke one of a batch of %d: p50", h.config.Many.Batch)
	return h.sawLatency(ctx, name, revocations(h.ours, some), 0)
}

// revokeAll revokes all that fill issued, in bulk, after a dry run.
func (h *holding) revokeAll(ctx context.Context) error {
	bulk := h.ours.path + "/revoke/bulk"
	dry := request{method: http.MethodPost, path: bulk, body: encode(map[string]any{"role": "web", "dry_run": true})}
	check := func(answer []byte) error {
		var found struct {
			Matched int `json:"matched_count"`
		}
		if err := decode(answer, &found); err != nil {
			return err
		}
		if revoked := h.config.Many.Samples + 1; found.Matched < len(h.serials)-revoked { // see list and revokeSome
			return fmt.Errorf("%d certificates were found to revoke, not all %d", found.Matched, len(h.serials))
		}
		return nil
	}
	if err := h.sawLatency(ctx, "revoke/bulk, dry_run: p50", task{units: 1, next: turns([]request{dry}), check: check}, 0); err != nil {
		return err
	}
	begin := time.Now()
	if err := h.client.post(ctx, bulk, map[string]any{"role": "web"}, nil); err != nil {
		return err
	}
	count, err := h.awaitBulk(ctx)
	if err != nil {
		return err
	}
	h.saw("revoke/bulk", float64(count)/time.Since(begin).Seconds(), "/s", 0)
	return h.sawMemory("plugin, all revoked: resident")
}

// awaitBulk waits for the end of the bulk revocation and returns how many it revoked.
func (h *holding) awaitBulk(ctx context.Context) (int, error) {
	var buffer bytes.Buffer
	for {
		var status struct {
			State string `json:"state"`
			Error string `json:"error"`
			Count int    `json:"revoked_count"`
		}
		if err := h.client.send(ctx, request{method: http.MethodGet, path: h.ours.path + "/revoke/bulk/status"}, &buffer); err != nil {
			return 0, err
		}
		if err := decode(buffer.Bytes(), &status); err != nil {
			return 0, err
		}
		switch status.State {
		case "Finished":
			return status.Count, nil
		case "Running":
		default:
			return 0, fmt.Errorf("the bulk revocation is %s after %d certificates: %s", status.State, status.Count, status.Error)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// makeCRL has the CRL made, while the plugin's peak is watched, and looks whether all
// certificates are on it.
func (h *holding) makeCRL(ctx context.Context) error {
	rotate := h.ours.path + "/crl/rotate"
	// The revocations have a CRL made by themselves; what is measured begins after it.
	if err := h.client.post(ctx, rotate, nil, nil); err != nil {
		return err
	}
	if err := h.resetPeak(); err != nil {
		return err
	}
	begin := time.Now()
	if err := h.client.post(ctx, rotate, nil, nil); err != nil {
		return err
	}
	h.sawTime("CRL made and stored", time.Since(begin), 0)
	if err := h.sawMemory("plugin, CRL made: resident"); err != nil {
		return err
	}
	var buffer bytes.Buffer
	begin = time.Now()
	if err := h.client.send(ctx, request{method: http.MethodGet, path: h.ours.path + "/crl"}, &buffer); err != nil {
		return err
	}
	h.sawTime("CRL fetched through Vault", time.Since(begin), 0)
	h.saw("CRL size", float64(buffer.Len())/(1<<20), "MiB", 0)
	root, err := certificateIn(h.ours.authored)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(buffer.Bytes())
	if err != nil {
		return err
	}
	if err := list.CheckSignatureFrom(root); err != nil {
		return err
	}
	if found := len(list.RevokedCertificateEntries); found < len(h.serials) {
		return fmt.Errorf("the CRL names %d certificates, not all %d", found, len(h.serials))
	}
	return h.sawMemory("plugin, CRL fetched: resident")
}

// revokeOne measures revocations of certificates that were issued one by one.
func (h *holding) revokeOne(ctx context.Context, name string) error {
	serials, err := h.stock(ctx, h.ours, h.config.Many.Samples)
	if err != nil {
		return err
	}
	return h.sawLatency(ctx, name, revocations(h.ours, serials), 0)
}

// revokeMore measures a revocation when all those are revoked, and looks whether OCSP
// tells of them.
func (h *holding) revokeMore(ctx context.Context) error {
	if err := h.revokeOne(ctx, "revoke one, all others revoked: p50"); err != nil {
		return err
	}
	root, err := certificateIn(h.ours.authored)
	if err != nil {
		return err
	}
	asked, err := statusRequest(h.ours, h.serials[0], root)
	if err != nil {
		return err
	}
	var buffer bytes.Buffer
	if err := h.client.send(ctx, asked, &buffer); err != nil {
		return err
	}
	return checkStatus(buffer.Bytes(), root, ocsp.Revoked)
}
