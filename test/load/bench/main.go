// Command bench measures the whole engine against the built-in one on a Vault server
// of its own and prints the report; `make bench` runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/load"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// timeLimit ends a run that hangs; certificateLimit is what each of a million may add.
const (
	timeLimit        = 30 * time.Minute
	certificateLimit = 2 * time.Millisecond
)

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "every point for an instant: shows that it works, not how fast")
	only := flags.String("run", "", "regular expression of the works to measure; all")
	duration := flags.Duration("duration", 0, "measured per point and engine; 5s, or 100ms with -quick")
	million := flags.Int("million", 0, "certificates of the mount that is filled, such as 1000000; none, or 40 with -quick")
	plugin := flags.String("plugin", "", "binary in bin/ to measure instead of the product's")
	out := flags.String("out", "", "folder for bench.json and bench.md; none are written without it")
	rooms := flags.String("rooms", "", "output of `go test -bench` to put into the report")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config := load.Full()
	if *quick {
		config = load.Quick()
	}
	if *duration > 0 {
		config.Duration = *duration
	}
	if *million > 0 {
		config.Many.Certificates = *million
	}
	if *plugin != "" {
		config.Plugin = *plugin
	}
	config.Progress = os.Stderr
	var err error
	if config.Run, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("reading -run: %w", err)
	}
	// Interrupted, it still ends the server that it started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeLimit+time.Duration(config.Many.Certificates)*certificateLimit)
	defer cancel()
	report, err := load.Run(ctx, config)
	if err != nil {
		return err
	}
	if *rooms != "" {
		if report.Rooms, err = readRooms(*rooms); err != nil {
			return err
		}
	}
	fmt.Print(report.Markdown())
	if *out == "" {
		return nil
	}
	return write(*out, report)
}

func readRooms(path string) ([]load.Benchmark, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return load.ReadRooms(file)
}

func write(folder string, report load.Report) error {
	encoded, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "bench.json"), append(encoded, '\n'), 0o600),
		os.WriteFile(filepath.Join(folder, "bench.md"), []byte(report.Markdown()), 0o600),
	)
}
