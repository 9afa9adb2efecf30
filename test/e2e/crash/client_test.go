package crash_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// client is one user of the site: it asks for certificates, has some of its own
// revoked, and writes a role and a profile now and then.
type client struct {
	*site
	name  string
	dice  *dice
	limit int       // of certificates that are received, by all clients; then it asks for no more
	own   []*issued // not revoked, and not kept
}

// clientPause is between two requests of a client.
const clientPause = 5 * time.Millisecond

// reasons are those for which clients revoke: one that the CRL shows at once and one
// that waits.
var reasons = []string{"keyCompromise", "superseded"}

// load is clients and watchers at work, until it is stopped.
type load struct {
	dice   *dice
	limit  int // of certificates that were received: then clients only revoke
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// begin starts clients and watchers. The clients go on until so many certificates more
// were received than now, and then only revoke.
func (s *site) begin(d *dice, clients, more int) *load {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{dice: d, cancel: cancel, limit: s.book.count() + more}
	for i := range clients {
		name := fmt.Sprintf("client-%d", i)
		c := &client{site: s, name: name, dice: d.derive(name), limit: l.limit}
		c.own = s.mine(i, clients)
		l.done.Go(func() { c.run(ctx) })
	}
	for i := range 2 {
		w := &watcher{site: s, dice: d.derive(fmt.Sprintf("watcher-%d", i))}
		l.done.Go(func() { w.askOCSP(ctx) })
	}
	l.done.Go(func() { (&watcher{site: s}).readCRLs(ctx) })
	s.t.Cleanup(l.stop)
	return l
}

// stop ends the load and waits for the requests under way.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

// mine shares out what was received before and may be revoked, so that no two clients
// revoke the same certificate at the same time.
func (s *site) mine(index, clients int) []*issued {
	var own []*issued
	for i, entry := range s.book.entries(0) {
		if revoked, _ := s.book.state(entry); revoked == nil && !entry.kept && i%clients == index {
			own = append(own, entry)
		}
	}
	return own
}

// newCSR asks for a certificate of a new key: one that was revoked as compromised is
// not certified again.
func newCSR(name string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name + ".example.com"}, DNSNames: []string{name + ".example.com"},
	}, key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		full := c.book.count() >= c.limit
		switch roll := c.dice.roll(100); {
		case roll < 40 && !full:
			c.one("/sign/web", fields{"csr": newCSR(c.name)})
		case roll < 50 && !full:
			c.one("/issue/web", fields{"common_name": c.name + ".example.com"})
		case roll < 60 && !full:
			c.batch(2 + c.dice.roll(7))
		case roll < 92:
			c.revoke()
		default:
			c.configure()
		}
		select {
		case <-ctx.Done():
		case <-time.After(clientPause):
		}
	}
}

// certificate is what an answer says of one certificate.
type certificate struct {
	Serial      string `json:"serial_number"`
	Certificate string `json:"certificate"`
	Error       string `json:"error"`
}

func (c *client) one(path string, body fields) {
	a := c.ask(http.MethodPost, mount+path, body)
	if !a.ok() {
		return
	}
	var answer struct{ Data certificate }
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		c.book.problem("%s: reading the answer: %v", path, err)
		return
	}
	c.keep(answer.Data)
}

func (c *client) keep(one certificate) {
	if entry := c.book.received(one.Serial, one.Certificate); entry != nil && !entry.kept {
		c.own = append(c.own, entry)
	}
}

func (c *client) batch(size int) {
	requests := make([]fields, size)
	for i := range requests {
		requests[i] = fields{"csr": newCSR(c.name)}
	}
	a := c.ask(http.MethodPost, mount+"/sign/web/batch", fields{"requests": requests})
	if !a.ok() {
		return
	}
	var answer struct {
		Data struct{ Responses []certificate }
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil || len(answer.Data.Responses) != size {
		c.book.problem("a batch of %d was answered with %d: %v", size, len(answer.Data.Responses), err)
		return
	}
	for _, one := range answer.Data.Responses {
		if one.Error != "" {
			c.book.problem("a request of a batch was refused: %s", one.Error)
			continue
		}
		c.keep(one)
	}
}

// revoke revokes one of the client's own certificates, old or new.
func (c *client) revoke() {
	if len(c.own) == 0 {
		return
	}
	at := c.dice.roll(len(c.own))
	entry := c.own[at]
	if c.revokeFor(entry, reasons[c.dice.roll(len(reasons))]) {
		c.own[at] = c.own[len(c.own)-1]
		c.own = c.own[:len(c.own)-1]
	}
}

// revokeFor asks for one revocation and writes down what was acknowledged.
func (s *site) revokeFor(entry *issued, reason string) (acknowledged bool) {
	s.book.asking(entry, reason)
	a := s.ask(http.MethodPost, mount+"/revoke", fields{"serial_number": entry.serial, "reason": reason})
	if !a.ok() {
		return false
	}
	var answer struct{ Data revocation }
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		s.book.problem("revoke: reading the answer: %v", err)
		return false
	}
	s.book.acknowledged(entry, answer.Data)
	return true
}

// configure writes a role or a profile of the client's own. A profile's answer says
// which version was made.
func (c *client) configure() {
	path, value := mount+"/roles/"+c.name, c.book.fresh()
	body := fields{"allow_any_name": true, "key_type": "ec", "max_ttl": "24h", "ttl": value}
	if c.dice.roll(2) == 0 {
		path, body = mount+"/profiles/"+c.name, fields{"preset": "tls-server", "default_ttl": value}
	}
	a := c.ask(http.MethodPost, path, body)
	var answer struct{ Data struct{ Version int } }
	if a.Status == http.StatusOK {
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			c.book.problem("%s: reading the answer: %v", path, err)
		}
	}
	c.book.wrote(path, value, answer.Data.Version, a.ok())
}
