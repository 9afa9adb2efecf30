package load

import (
	"context"
	"fmt"
	"net/http"
)

// figure is what a work is judged by.
type figure string

const (
	byRate    figure = "rate"        // operations per second, ours over theirs
	byLatency figure = "p50 latency" // theirs over ours
)

// work is one row of the table of architecture.md, measured at several settings.
type work struct {
	name     string
	unit     string // of the settings
	settings func(Config) []int
	figure   figure
	// target returns the ratio to reach at a setting, 0 where none is set.
	target func(setting int) float64
	// tasks prepares both engines and returns what they do at a setting.
	tasks func(ctx context.Context, b *bench, setting int) (ours, builtIn task, err error)
	// count, if there is one, bounds a slice of works that spend what was prepared. They
	// do not warm up.
	count func(Config) int
}

const (
	signWork   = "sign"
	batchWork  = "sign/:role/batch"
	burstWork  = "issue RSA-2048, burst within the key pool"
	beyondWork = "issue RSA-2048, beyond the key pool"
	ocspWork   = "OCSP GET"
	revokeWork = "revoke"
	crlWork    = "CRL rebuild"
	edgeGET    = "OCSP GET at the edge"
	edgePOST   = "OCSP POST at the edge"
	edgeSigned = "OCSP at the edge, each answer signed"
)

// works is the table of what is measured.
var works = []work{
	{name: signWork, unit: clientUnit, settings: clients, figure: byRate, target: signTarget, tasks: signTasks},
	{name: batchWork, unit: clientUnit, settings: few(1, 8), figure: byRate, target: always(4), tasks: batchTasks},
	{name: burstWork, unit: clientUnit, settings: few(1, 8), figure: byLatency, target: always(10), tasks: burstTasks, count: burst},
	{name: beyondWork, unit: clientUnit, settings: few(1, 8), figure: byLatency, target: always(0), tasks: beyondTasks},
	{name: ocspWork, unit: clientUnit, settings: few(1, 32), figure: byRate, target: always(0), tasks: ocspTasks},
	{name: revokeWork, unit: revokedUnit, settings: revoked, figure: byLatency, target: revokeTarget, tasks: revokeTasks, count: scarce},
	{name: crlWork, unit: revokedUnit, settings: mostRevoked, figure: byLatency, target: always(0), tasks: crlTasks, count: scarce},
	{name: edgeGET, unit: clientUnit, settings: few(1, 8, 32), figure: byRate, target: always(10), tasks: edgeTasks((*edge).getStatus)},
	{name: edgePOST, unit: clientUnit, settings: few(1, 8, 32), figure: byRate, target: always(10), tasks: edgeTasks((*edge).postStatus)},
	{name: edgeSigned, unit: clientUnit, settings: few(1, 8, 32), figure: byRate, target: always(5), tasks: signedTasks},
}

// The units of settings. There is one client in works whose setting is another.
const (
	clientUnit  = "clients"
	revokedUnit = "revoked"
)

func burst(config Config) int { return config.Burst }

func scarce(config Config) int { return config.Scarce }

func clients(config Config) []int { return config.Clients }

func revoked(config Config) []int { return config.Revoked }

func mostRevoked(config Config) []int { return config.Revoked[len(config.Revoked)-1:] }

func few(settings ...int) func(Config) []int { return func(Config) []int { return settings } }

func always(ratio float64) func(int) float64 { return func(int) float64 { return ratio } }

func signTarget(clients int) float64 {
	switch clients {
	case 1:
		return 0.75 // an external plugin pays two more hops
	case 32, 64:
		return 1.2
	}
	return 0
}

func revokeTarget(revoked int) float64 {
	switch revoked {
	case 3000:
		return 15
	case 25000:
		return 100
	}
	return 0
}

// measure prepares a work at a setting and compares the engines.
func (w work) measure(ctx context.Context, b *bench, setting int) (Result, error) {
	ours, builtIn, err := w.tasks(ctx, b, setting)
	if err != nil {
		return Result{}, fmt.Errorf("preparing: %w", err)
	}
	concurrent, warmUp, limit := setting, bound{duration: b.config.Duration / 5}, bound{duration: b.config.Duration / (2 * rounds)}
	if w.count != nil {
		warmUp, limit = bound{}, bound{duration: b.config.Duration, count: w.count(b.config)}
	}
	if w.unit != clientUnit {
		concurrent = 1
	}
	result := Result{Work: w.name, Setting: setting, Unit: w.unit, Figure: string(w.figure), Target: w.target(setting)}
	if result.Ours, result.BuiltIn, err = b.compare(ctx, ours, builtIn, concurrent, warmUp, limit); err != nil {
		return Result{}, err
	}
	if result.Ours.Operations == 0 || result.BuiltIn.Operations == 0 {
		return Result{}, fmt.Errorf("ours finished %d operations, the built-in engine %d", result.Ours.Operations, result.BuiltIn.Operations)
	}
	result.Ratio = result.Ours.Rate / result.BuiltIn.Rate
	if w.figure == byLatency {
		result.Ratio = result.BuiltIn.P50 / result.Ours.P50
	}
	return result, nil
}

func signTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return task{}, task{}, err
	}
	return b.signTask(mounts.ours), b.signTask(mounts.builtIn), nil
}

func (b *bench) signTask(m *mount) task {
	return task{units: 1, next: turns(b.signRequests(m)), check: m.checkSigned}
}

// checkSigned looks whether an answer holds a certificate that the root signed.
func (m *mount) checkSigned(answer []byte) error {
	var one signed
	if err := decode(answer, &one); err != nil {
		return err
	}
	return m.checkCertificate(one.Certificate)
}

func (m *mount) checkCertificate(text string) error {
	root, err := certificateIn(m.authored)
	if err != nil {
		return err
	}
	leaf, err := certificateIn(text)
	if err != nil {
		return err
	}
	return leaf.CheckSignatureFrom(root)
}

// batchTasks compares batches of this engine with single requests of the built-in,
// which has none, certificate by certificate.
func batchTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return task{}, task{}, err
	}
	size := b.config.Batch
	check := func(answer []byte) error {
		var many struct {
			Responses []signed `json:"responses"`
		}
		if err := decode(answer, &many); err != nil {
			return err
		}
		for _, one := range many.Responses {
			if err := mounts.ours.checkCertificate(one.Certificate); err != nil {
				return err
			}
		}
		if len(many.Responses) != size {
			return fmt.Errorf("a batch of %d was answered with %d certificates", size, len(many.Responses))
		}
		return nil
	}
	return task{units: size, next: turns(b.batches(mounts.ours, size)), check: check}, b.signTask(mounts.builtIn), nil
}

// batches returns all CSRs in batches of a size; what is left over is not asked.
func (b *bench) batches(m *mount, size int) []request {
	var batches []request
	for start := 0; start+size <= len(b.csrs); start += size {
		var asks []map[string]any
		for _, csr := range b.csrs[start : start+size] {
			asks = append(asks, map[string]any{"csr": csr})
		}
		batches = append(batches, request{method: http.MethodPost, path: m.path + "/sign/web/batch", body: encode(map[string]any{"requests": asks})})
	}
	return batches
}
