package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Many says how a mount with many certificates is measured.
type Many struct {
	// Certificates is how many the mount gets; 0 measures nothing.
	Certificates int
	// Batch is the number of requests of the batches that fill it.
	Batch int
	// BuiltIn is how long the built-in engine is filled for its LIST.
	BuiltIn time.Duration
	// Page is the number of certificates of a page.
	Page int
	// Samples is how often short requests are repeated.
	Samples int
}

// Figure is one thing seen of a mount with many certificates.
type Figure struct {
	Name  string  `json:"name"`
	At    int     `json:"at"` // certificates that the mount has
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Limit is what Value must not exceed; 0 where nothing is to be reached.
	Limit float64 `json:"limit,omitempty"`
}

// Reached reports whether the value is within its limit; true where none is set.
func (f Figure) Reached() bool { return f.Limit == 0 || f.Value <= f.Limit }

// String returns the figure in one line.
func (f Figure) String() string {
	return fmt.Sprintf("%-60s %10.1f %-4s %s", f.Name, f.Value, f.Unit, f.verdict())
}

func (f Figure) verdict() string {
	switch {
	case f.Limit == 0:
		return ""
	case f.Reached():
		return "reached"
	}
	return "missed"
}

// holding is a pair of mounts whose first one is filled, and what was seen of it.
type holding struct {
	*bench
	pair
	serials []string // of the first one, in the order of issue
	waiting *edge    // of the first one, stopped
	figures []Figure
}

// steps is the order in which many certificates are measured: each builds on those
// before. The built-in engine comes last, so that starts do not wait for it.
var steps = []struct {
	name string
	run  func(*holding, context.Context) error
}{
	{"filling the mount", (*holding).fill},
	{"listing certificates", (*holding).list},
	{"killing the plugin", (*holding).killPlugin},
	{"restarting Vault", (*holding).restartVault},
	{"starting an edge", (*holding).startAnEdge},
	{"revoking some", (*holding).revokeSome},
	{"revoking all", (*holding).revokeAll},
	{"making the CRL", (*holding).makeCRL},
	{"having the edge catch up", (*holding).catchUp},
	{"revoking one more", (*holding).revokeMore},
	{"listing the built-in engine's certificates", (*holding).listBuiltIn},
}

// measureMany takes all steps and returns the figures in their order.
func (b *bench) measureMany(ctx context.Context) ([]Figure, error) {
	made, err := b.newPair(ctx)
	if err != nil {
		return nil, err
	}
	h := &holding{bench: b, pair: *made}
	for _, step := range steps {
		if err := step.run(h, ctx); err != nil {
			return nil, fmt.Errorf("%s of %d certificates: %w", step.name, b.config.Many.Certificates, err)
		}
	}
	return h.figures, nil
}

// saw notes a figure of the filled mount.
func (h *holding) saw(name string, value float64, unit string, limit float64) {
	h.note(Figure{Name: name, At: len(h.serials), Value: value, Unit: unit, Limit: limit})
}

func (h *holding) note(f Figure) {
	h.figures = append(h.figures, f)
	fmt.Fprintln(h.config.Progress, f)
}

func (h *holding) sawTime(name string, d, limit time.Duration) {
	h.saw(name, d.Seconds(), "s", limit.Seconds())
}

// fillers is how many clients send batches: two keep the plugin's two cores busy.
const fillers = 2

// fill issues the certificates in batches.
func (h *holding) fill(ctx context.Context) error {
	if err := h.sawMemory("plugin before: resident"); err != nil {
		return err
	}
	many := h.config.Many
	count := (many.Certificates + many.Batch - 1) / many.Batch
	batches, serials := h.batches(h.ours, many.Batch), make([][]string, count)
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for first := range fillers {
		group.Go(func() error {
			var buffer bytes.Buffer
			for n := first; n < count; n += fillers {
				if err := h.client.send(ctx, batches[n%len(batches)], &buffer); err != nil {
					return err
				}
				var err error
				if serials[n], err = serialsIn(buffer.Bytes(), many.Batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	elapsed := time.Since(begin)
	for _, some := range serials {
		h.serials = append(h.serials, some...)
	}
	h.saw("issued in batches", float64(len(h.serials))/elapsed.Seconds(), "/s", 0)
	return h.sawMemory("plugin filled: resident")
}

// serialsIn returns the serial numbers of the answer to a batch of a size.
func serialsIn(answer []byte, size int) ([]string, error) {
	var many struct {
		Responses []struct {
			Serial string `json:"serial_number"`
		} `json:"responses"`
	}
	if err := decode(answer, &many); err != nil {
		return nil, err
	}
	serials := make([]string, 0, size)
	for _, one := range many.Responses {
		if one.Serial != "" {
			serials = append(serials, one.Serial)
		}
	}
	if len(serials) != size {
		return nil, fmt.Errorf("a batch of %d was answered with %d certificates", size, len(serials))
	}
	return serials, nil
}

// pageLimit is what the first page of a list may take.
const pageLimit = 50 * time.Millisecond

// list asks for pages of all certificates, and for the only one that is revoked, to
// find which every row is looked at.
func (h *holding) list(ctx context.Context) error {
	size := h.config.Many.Page
	var buffer bytes.Buffer
	if err := h.client.send(ctx, revocation(h.ours, h.serials[len(h.serials)/2]), &buffer); err != nil {
		return err
	}
	middle := slices.Sorted(slices.Values(h.serials))[len(h.serials)/2] // pages follow serial numbers
	for _, page := range []struct {
		name, path string
		count      int // keys of the answer
	}{
		{"certs, first page: p50", fmt.Sprintf("certs?limit=%d", size), size},
		{"certs, page after the middle: p50", fmt.Sprintf("certs?limit=%d&after=%s", size, middle), size},
		{"certs/revoked, the one among all: p50", fmt.Sprintf("certs/revoked?limit=%d", size), 1},
	} {
		t := task{
			units: 1, next: turns([]request{{method: "LIST", path: h.ours.path + "/" + page.path}}),
			check: func(answer []byte) error { return checkKeys(answer, page.count) },
		}
		if err := h.sawLatency(ctx, page.name, t, pageLimit); err != nil {
			return err
		}
	}
	return nil
}

func checkKeys(answer []byte, count int) error {
	var listed struct {
		Keys []string `json:"keys"`
	}
	if err := decode(answer, &listed); err != nil {
		return err
	}
	if len(listed.Keys) != count {
		return fmt.Errorf("%d keys were listed, not %d", len(listed.Keys), count)
	}
	return nil
}

// sawLatency has one client repeat a task and notes the median, with a limit of 0 for
// none.
func (h *holding) sawLatency(ctx context.Context, name string, t task, limit time.Duration) error {
	seen, err := h.drive(ctx, t, 1, bound{duration: time.Minute, count: h.config.Many.Samples})
	if err != nil {
		return err
	}
	if len(seen.latencies) == 0 {
		return errors.New("nothing was measured")
	}
	h.saw(name, milliseconds(percentile(seen.latencies, 50)), "ms", milliseconds(limit))
	return nil
}

// listBuiltIn fills the built-in engine for a while, one certificate by one, as it
// can, and lists all: it has no pages.
func (h *holding) listBuiltIn(ctx context.Context) error {
	filled, err := h.drive(ctx, h.signTask(h.builtIn), preparers, bound{duration: h.config.Many.BuiltIn})
	if err != nil {
		return err
	}
	count := len(filled.latencies) + 1 // and the root
	check := func(answer []byte) error { return checkKeys(answer, count) }
	t := task{units: 1, next: turns([]request{{method: "LIST", path: h.builtIn.path + "/certs"}}), check: check}
	seen, err := h.drive(ctx, t, 1, bound{duration: 10 * time.Second, count: h.config.Many.Samples})
	if err != nil {
		return err
	}
	h.note(Figure{Name: "built-in LIST certs: p50", At: count, Value: milliseconds(percentile(seen.latencies, 50)), Unit: "ms"})
	return nil
}
