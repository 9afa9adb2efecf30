// Command pki-edge answers OCSP requests and serves CRLs, CA certificates and the
// repository page of one mount of the engine over plain HTTP. It needs Vault to learn
// what is new, and not to go on with what it knows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/selftest"
)

// version is set by the linker.
var version = "development"

// heapGrowth is by how many percent the heap may grow before garbage is collected.
// Most of the heap are rows, which hold no pointers: collecting is cheap, memory not.
const heapGrowth = 50

// now is the clock.
var now = time.Now

const usage = `usage: pki-edge [-config FILE] [-check-config] [-version] [selftest]

Without a command it serves until SIGTERM. selftest issues a certificate, asks the edge
about it, revokes it, and measures until OCSP and CRL show that.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "pki-edge: %s\n", err)
		os.Exit(fault.KindOf(err).ExitCode())
	}
}

// run carries out one command line.
func run(ctx context.Context, args []string, out, logs io.Writer) error {
	flags := flag.NewFlagSet("pki-edge", flag.ContinueOnError)
	flags.SetOutput(logs)
	flags.Usage = func() {
		fmt.Fprint(logs, usage)
		flags.PrintDefaults()
	}
	path := flags.String("config", "", "configuration `FILE`, YAML or JSON; variables PKI_EDGE_... come over it")
	check := flags.Bool("check-config", false, "check the configuration and end")
	show := flags.Bool("version", false, "print the version and end")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	if *show {
		fmt.Fprintln(out, version)
		return nil
	}
	if flags.NArg() > 1 || flags.NArg() == 1 && flags.Arg(0) != "selftest" {
		return fault.New(fault.Invalid, "unknown command %q; see -help", flags.Arg(0))
	}
	settings, err := config.Load(*path, os.Environ())
	if err != nil {
		return err
	}
	if *check {
		fmt.Fprintln(out, "the configuration is valid")
		return nil
	}
	if flags.NArg() == 1 {
		return selftest.Run(ctx, settings, out, now)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	e, err := edge.New(ctx, edge.Config{Settings: settings, Version: version, Log: edge.NewLog(settings.Log, logs), Now: now})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}
