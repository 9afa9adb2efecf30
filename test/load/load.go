// Package load promises figures of the whole engine that can be repeated: one Vault
// server with raft storage on disk and a file audit device, this engine and the
// built-in one mounted beside each other, the same load against both in turns, and a
// report that holds every point or does not come at all. It starts its own server on
// the loopback address and knows no other; loops end by count and by time.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// Config says what is measured, and for how long.
type Config struct {
	// Run chooses works by name; nil for all.
	Run *regexp.Regexp
	// Duration is measured per point and engine, in slices.
	Duration time.Duration
	// Clients are the numbers of concurrent clients of sign.
	Clients []int
	// Revoked are the numbers of revoked certificates, ascending, at which revoke is
	// measured; the CRL is rebuilt at the last.
	Revoked []int
	// Scarce is how many operations a slice has of works that spend what was prepared:
	// revocations and CRLs.
	Scarce int
	// Burst is the number of RSA keys in the pool and of requests that follow at once.
	Burst int
	// Requests is how many different CSRs take turns, at least Batch and Many.Batch. The
	// engine looks at all certificates of a key, so there are many, as in life.
	Requests int
	// Batch is the number of requests of one batch.
	Batch int
	// Edge is measured with the works.
	Edge Edge
	// Many is measured by itself, after the works.
	Many Many
	// Plugin is the name of the binary in bin/.
	Plugin string
	// Progress gets a line per point.
	Progress io.Writer
}

// Edge says how an edge is measured.
type Edge struct {
	// Distinct is about how many certificates it is asked where it is to sign each
	// answer: more than it keeps.
	Distinct int
	// Revocations is how many are followed to it.
	Revocations int
}

// pluginBinary is the name of the product's binary in bin/.
const pluginBinary = "vault-plugin-secrets-enterprise-pki"

// Full is what `make bench` runs: about ten minutes on two quiet cores.
func Full() Config {
	return Config{
		Duration: 5 * time.Second, Clients: []int{1, 8, 32, 64}, Revoked: []int{200, 3000, 25000},
		Scarce: 3, Burst: 16, Requests: 8192, Batch: 64, Edge: Edge{Distinct: 6000, Revocations: 100}, Plugin: pluginBinary, Progress: io.Discard,
		Many: Many{Batch: 256, BuiltIn: time.Minute, Page: 100, Samples: 64},
	}
}

// Quick runs every point for an instant, which shows that all of it works and says
// nothing about speed.
func Quick() Config {
	return Config{
		Duration: 100 * time.Millisecond, Clients: []int{1, 4}, Revoked: []int{3, 20},
		Scarce: 1, Burst: 2, Requests: 8, Batch: 4, Edge: Edge{Distinct: 70, Revocations: 3}, Plugin: pluginBinary, Progress: io.Discard,
		Many: Many{Certificates: 40, Batch: 8, BuiltIn: 100 * time.Millisecond, Page: 10, Samples: 4},
	}
}

// Run measures all works that are chosen on a server of their own, then many
// certificates on another. A request that fails ends the run: figures with errors in
// them mean nothing.
func Run(ctx context.Context, config Config) (Report, error) {
	report := Report{Machine: describeMachine(), Batch: config.Batch}
	var chosen []work
	for _, w := range works {
		if config.Run == nil || config.Run.MatchString(w.name) {
			chosen = append(chosen, w)
		}
	}
	follow := config.Run == nil || config.Run.MatchString(propagationWork)
	if len(chosen) > 0 || follow {
		err := onServer(config, func(b *bench) (err error) {
			if report.Results, err = b.compareAll(ctx, chosen); err == nil && follow {
				report.Propagation, err = b.propagation(ctx)
			}
			return err
		})
		if err != nil {
			return Report{}, err
		}
	}
	if config.Many.Certificates > 0 {
		err := onServer(config, func(b *bench) (err error) {
			report.Many, err = b.measureMany(ctx)
			return err
		})
		if err != nil {
			return Report{}, err
		}
	}
	return report, nil
}

// onServer starts a server, has the work done and stops the server.
func onServer(config Config, work func(*bench) error) (err error) {
	cluster, err := harness.StartRaft(harness.Config{}, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	if err := cluster.Register(harness.PluginName, config.Plugin); err != nil {
		return err
	}
	b, err := newBench(config, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.dropEdge()) }()
	return work(b)
}

func (b *bench) compareAll(ctx context.Context, chosen []work) ([]Result, error) {
	var results []Result
	for _, w := range chosen {
		for _, setting := range w.settings(b.config) {
			result, err := w.measure(ctx, b, setting)
			if err != nil {
				return nil, fmt.Errorf("measuring %s at %d %s: %w", w.name, setting, w.unit, err)
			}
			results = append(results, result)
			fmt.Fprintln(b.config.Progress, result)
		}
	}
	return results, nil
}

// describeMachine names what figures depend on, without saying which machine it is.
func describeMachine() Machine {
	machine := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if content, err := os.ReadFile("/proc/loadavg"); err == nil {
		machine.LoadBefore, _, _ = strings.Cut(string(content), " ")
	}
	return machine
}
