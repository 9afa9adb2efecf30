package load

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

const (
	// signLimit and questionsLimit are what a start may take until the first sign, and
	// until all questions are answered.
	signLimit      = 2 * time.Second
	questionsLimit = 15 * time.Second
	probePause     = 5 * time.Millisecond
)

// probe is a request that is repeated until it succeeds.
type probe struct {
	name  string
	send  request
	check func(answer []byte) error // nil accepts any answer
}

// probes are a signature, then the questions that wait for the ledger: the status of
// the first and the last certificate, and a list.
func (h *holding) probes() ([]probe, error) {
	all := []probe{{name: "sign", send: h.signRequests(h.ours)[0], check: h.ours.checkSigned}}
	root, err := certificateIn(h.ours.authored)
	if err != nil {
		return nil, err
	}
	for _, serial := range []string{h.serials[0], h.serials[len(h.serials)-1]} {
		asked, err := statusRequest(h.ours, serial, root)
		if err != nil {
			return nil, err
		}
		check := func(answer []byte) error { return checkStatus(answer, root, ocsp.Good) }
		all = append(all, probe{name: "OCSP", send: asked, check: check})
	}
	list := request{method: "LIST", path: h.ours.path + "/certs?limit=1"}
	return append(all, probe{name: "certs", send: list, check: func(answer []byte) error { return checkKeys(answer, 1) }}), nil
}

// untilAnswered sends all probes at once, each again until it succeeds, and returns
// when each did.
func (h *holding) untilAnswered(ctx context.Context, all []probe) ([]time.Time, error) {
	ctx, cancel := wait.Context(ctx)
	defer cancel()
	var (
		group  sync.WaitGroup
		times  = make([]time.Time, len(all))
		failed = make([]error, len(all))
	)
	for i, p := range all {
		group.Go(func() {
			var buffer bytes.Buffer
			for times[i].IsZero() {
				err := h.client.send(ctx, p.send, &buffer)
				if err == nil && p.check != nil {
					err = p.check(buffer.Bytes())
				}
				if err == nil {
					times[i] = time.Now()
				} else if pause(ctx, probePause) != nil {
					failed[i] = fmt.Errorf("%s: %w", p.name, err)
					return
				}
			}
		})
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return times, nil
}

// killPlugin ends the plugin process as a crash would. Vault starts it anew when the
// next request comes.
func (h *holding) killPlugin(ctx context.Context) error {
	all, err := h.probes()
	if err != nil {
		return err
	}
	begin := time.Now()
	for _, id := range h.server.Children() {
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing process %d: %w", id, err)
		}
	}
	times, err := h.untilAnswered(ctx, all)
	if err != nil {
		return err
	}
	h.sawAnswers("plugin killed", begin, times)
	return h.sawMemory("plugin started anew: resident")
}

// restartVault ends Vault in order and starts it. The clock runs from the moment when
// Vault says that it is active: what its own storage takes before is not ours.
func (h *holding) restartVault(ctx context.Context) error {
	all, err := h.probes()
	if err != nil {
		return err
	}
	h.client.http.CloseIdleConnections()
	if err := h.cluster.Restart(h.server); err != nil {
		return err
	}
	unsealed := time.Now()
	active := probe{name: "sys/health", send: request{method: http.MethodGet, path: "sys/health"}}
	times, err := h.untilAnswered(ctx, append(all, active))
	if err != nil {
		return err
	}
	last := len(times) - 1
	h.sawTime("Vault unsealed until active", times[last].Sub(unsealed), 0)
	h.sawAnswers("Vault active", times[last], times[:last])
	return nil
}

// sawAnswers notes how long after the beginning the first probe, a signature, and the
// last one were answered.
func (h *holding) sawAnswers(what string, begin time.Time, times []time.Time) {
	last := begin
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	h.sawTime(what+" until the first sign", max(0, times[0].Sub(begin)), signLimit)
	h.sawTime(what+" until all questions are answered", last.Sub(begin), questionsLimit)
}
