package edge

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// connections is a listener that bounds how many clients are connected at once (dos-2).
// While all places are taken, the connection that has been idle longest is closed for a
// new client: kept connections that nobody uses must not keep out others. A new client
// waits only while every connection has a request under way.
type connections struct {
	net.Listener

	places chan struct{} // one element for each connection that is served
	ended  chan struct{} // closed with the listener
	end    sync.Once

	mu   sync.Mutex // guards idle; held for a moment
	idle []net.Conn // the longest idle first

	waiting              atomic.Int64
	idleClosed, accepted atomic.Uint64
}

func limit(listener net.Listener, most int) *connections {
	return &connections{Listener: listener, places: make(chan struct{}, most), ended: make(chan struct{})}
}

// Accept returns the next connection that has a place.
func (c *connections) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case c.places <- struct{}{}:
	default:
		if !c.wait() {
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
	}
	c.accepted.Add(1)
	return &placed{Conn: accepted, leave: func() { <-c.places }}, nil
}

// wait takes a place that an idle connection gives up, or the next one to become free;
// false when the listener ends.
func (c *connections) wait() bool {
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	c.closeIdle()
	select {
	case c.places <- struct{}{}:
		return true
	case <-c.ended:
		return false
	}
}

// Close ends the listener.
func (c *connections) Close() error {
	c.end.Do(func() { close(c.ended) })
	return c.Listener.Close()
}

// placed is a connection that has a place until it is closed.
type placed struct {
	net.Conn

	once  sync.Once
	leave func()
}

// Close closes the connection and gives its place back.
func (p *placed) Close() error {
	err := p.Conn.Close()
	p.once.Do(p.leave)
	return err
}

// ReadFrom lets the kernel send files (sendfile(2)).
func (p *placed) ReadFrom(r io.Reader) (int64, error) { return io.Copy(p.Conn, r) }

// closeIdle closes the connection that has been idle longest, if there is one.
func (c *connections) closeIdle() {
	c.mu.Lock()
	var longest net.Conn
	if len(c.idle) > 0 {
		longest, c.idle = c.idle[0], c.idle[1:]
	}
	c.mu.Unlock()
	if longest != nil {
		c.idleClosed.Add(1)
		_ = longest.Close() // its client is told by that
	}
}

// changed is http.Server.ConnState.
func (c *connections) changed(connection net.Conn, state http.ConnState) {
	c.mu.Lock()
	c.idle = slices.DeleteFunc(c.idle, func(known net.Conn) bool { return known == connection })
	if state == http.StateIdle {
		c.idle = append(c.idle, connection)
	}
	c.mu.Unlock()
	if state == http.StateIdle && c.waiting.Load() > 0 {
		c.closeIdle()
	}
}

// metrics writes how many connections there are, as Prometheus reads it.
func (c *connections) metrics(w io.Writer) {
	c.mu.Lock()
	idle := len(c.idle)
	c.mu.Unlock()
	fmt.Fprintf(w, "# HELP pki_edge_connections Connections now: open, idle among them, and waiting for a place.\n# TYPE pki_edge_connections gauge\n")
	fmt.Fprintf(w, "pki_edge_connections{state=\"open\"} %d\npki_edge_connections{state=\"idle\"} %d\npki_edge_connections{state=\"waiting\"} %d\n", len(c.places), idle, c.waiting.Load())
	for _, counted := range []struct {
		name, help string
		value      uint64
	}{
		{"pki_edge_connections_limit", "Most connections at once (listen.max_connections).", uint64(cap(c.places))},
		{"pki_edge_connections_accepted_total", "Connections accepted.", c.accepted.Load()},
		{"pki_edge_connections_idle_closed_total", "Idle connections closed because listen.max_connections was reached.", c.idleClosed.Load()},
	} {
		kind := map[bool]string{true: "gauge", false: "counter"}[counted.name == "pki_edge_connections_limit"]
		fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s %[3]s\n%[1]s %[4]d\n", counted.name, counted.help, kind, counted.value)
	}
}
