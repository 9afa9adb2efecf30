package edge

import (
	"io"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// NewLog returns the log that a checked configuration asks for.
func NewLog(settings config.Log, out io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "pki-edge", Level: hclog.LevelFromString(settings.Level), Output: out, JSONFormat: settings.Format == "json",
	})
}
