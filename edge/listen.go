package edge

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// What a connection may take (dos-1, dos-2). Lists lift the limit of writing.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10 // octets
	maxScrapers   = 64       // connections for metrics
)

// listen opens the address.
func listen(ctx context.Context, settings config.Listen) (*connections, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", settings.Address)
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, "listen.address", "%w", err)
	}
	return limit(listener, settings.MaxConnections), nil
}

// listenMetrics opens the address of metrics; nil when there is none of their own.
func listenMetrics(ctx context.Context, settings config.Listen) (*connections, error) {
	if settings.MetricsAddress == "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", settings.MetricsAddress)
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, "listen.metrics_address", "%w", err)
	}
	return limit(listener, maxScrapers), nil
}

// serveUntil serves until the context ends, and then lets requests that are under way
// come to their end, for as long as the configuration says.
func serveUntil(ctx context.Context, listener *connections, handler http.Handler, settings config.Listen, logger hclog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnState: listener.changed, ErrorLog: log.New(quiet{logger}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fault.New(fault.Unavailable, "serving: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), settings.ShutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil && !errors.Is(err, context.Canceled) {
		logger.Warn("requests were cut short", "error", err)
		_ = server.Close() // they had their time
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fault.New(fault.Unavailable, "serving: %w", err)
	}
	return nil
}

// quiet takes what net/http says of broken connections, which anybody can cause.
type quiet struct{ log hclog.Logger }

// Write logs one line.
func (q quiet) Write(line []byte) (int, error) {
	q.log.Debug("connection", "said", string(line))
	return len(line), nil
}
