package edge

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// NewLog returns the log that a checked configuration asks for.
func NewLog(settings config.Log, out io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "pki-edge", Level: hclog.LevelFromString(settings.Level), Output: out, JSONFormat: settings.Format == "json",
	})
}

// bridge writes what goes to a slog.Logger into the one log of the edge.
type bridge struct{ log hclog.Logger }

// levels pairs the two vocabularies, the highest first.
var levels = []struct {
	from slog.Level
	to   hclog.Level
}{{slog.LevelError, hclog.Error}, {slog.LevelWarn, hclog.Warn}, {slog.LevelInfo, hclog.Info}}

func levelOf(level slog.Level) hclog.Level {
	for _, pair := range levels {
		if level >= pair.from {
			return pair.to
		}
	}
	return hclog.Debug
}

// Enabled reports whether a level is logged.
func (b bridge) Enabled(_ context.Context, level slog.Level) bool {
	return b.log.GetLevel() <= levelOf(level)
}

// Handle writes one entry.
func (b bridge) Handle(_ context.Context, entry slog.Record) error {
	var pairs []any
	entry.Attrs(func(a slog.Attr) bool {
		pairs = append(pairs, a.Key, a.Value.Resolve().Any())
		return true
	})
	b.log.Log(levelOf(entry.Level), entry.Message, pairs...)
	return nil
}

// WithAttrs returns a bridge that adds attributes to each entry.
func (b bridge) WithAttrs(attributes []slog.Attr) slog.Handler {
	var pairs []any
	for _, a := range attributes {
		pairs = append(pairs, a.Key, a.Value.Resolve().Any())
	}
	return bridge{b.log.With(pairs...)}
}

// WithGroup names the entries to come.
func (b bridge) WithGroup(name string) slog.Handler { return bridge{b.log.Named(name)} }
