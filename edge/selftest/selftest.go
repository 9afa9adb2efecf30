// Package selftest promises a measurement of the whole way of a revocation: it has the
// mount issue a certificate for nobody, waits until the edge calls it good, revokes
// it, and measures until the edge's OCSP and CRL say so, the one that the certificate
// names (a shard, where there are shards) as well as the complete one. It leaves one
// revoked certificate behind.
package selftest

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
)

const (
	// askEvery is the pause between two questions to the edge, and so what the
	// measurement is exact to.
	askEvery = 100 * time.Millisecond
	// askTimeout bounds one question.
	askTimeout = 30 * time.Second
	// maxAnswer is the largest answer that is read, in octets.
	maxAnswer = 256 << 20
)

// test is one run.
type test struct {
	settings config.Config
	client   *vault.Client
	http     *http.Client
	base     string // of the edge
	now      func() time.Time
	table    *tabwriter.Writer

	leaf, ca *x509.Certificate
	issuer   string // id
}

// Run carries out the test with the settings of the edge, and writes a table to out.
// The error is that of the first step that failed.
func Run(ctx context.Context, settings config.Config, out io.Writer, now func() time.Time) error {
	if settings.Selftest.Role == "" {
		return fault.Field("selftest.role", "must name the role that issues the certificate to be revoked")
	}
	client, err := vault.New(settings.Vault, now)
	if err != nil {
		return err
	}
	t := &test{
		settings: settings, client: client, http: &http.Client{Timeout: askTimeout}, now: now,
		base: strings.TrimSuffix(address(settings), "/"), table: tabwriter.NewWriter(out, 0, 8, 2, ' ', 0),
	}
	defer func() { _ = t.table.Flush() }() // who reads it may be gone
	fmt.Fprintln(t.table, "step\tresult\tseconds")
	if err := t.step(ctx, "certificate issued", t.issue); err != nil {
		return err
	}
	if err := t.step(ctx, "OCSP says good", t.until(t.ocspSays(ocsp.Good))); err != nil {
		return err
	}
	if err := t.step(ctx, "certificate revoked", func(ctx context.Context) error {
		return t.client.Revoke(ctx, cert.SerialOf(t.leaf.SerialNumber).String())
	}); err != nil {
		return err
	}
	revoked := now()
	if err := t.stepSince(ctx, "OCSP says revoked", revoked, t.until(t.ocspSays(ocsp.Revoked))); err != nil {
		return err
	}
	complete := func(ctx context.Context) error { return t.listed(ctx, t.base+"/crl/"+t.issuer+".crl", "") }
	if err := t.stepSince(ctx, "CRL says revoked", revoked, t.until(complete)); err != nil {
		return err
	}
	for _, point := range t.leaf.CRLDistributionPoints {
		if !strings.HasPrefix(point, "http://") && !strings.HasPrefix(point, "https://") {
			continue // a directory, which is no matter of the edge's answers
		}
		named := func(ctx context.Context) error { return t.listedAt(ctx, point) }
		if err := t.stepSince(ctx, "CRL "+point+" says revoked", revoked, t.until(named)); err != nil {
			return err
		}
	}
	return nil
}

// address returns where the edge is asked.
func address(settings config.Config) string {
	if settings.Selftest.URL != "" {
		return settings.Selftest.URL
	}
	host, port, _ := net.SplitHostPort(settings.Listen.Address) // checked with the configuration
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// step does one thing and writes a row about it.
func (t *test) step(ctx context.Context, name string, do func(context.Context) error) error {
	return t.stepSince(ctx, name, t.now(), do)
}

func (t *test) stepSince(ctx context.Context, name string, begin time.Time, do func(context.Context) error) error {
	err := do(ctx)
	result := "ok"
	if err != nil {
		result = "FAILED"
	}
	fmt.Fprintf(t.table, "%s\t%s\t%.2f\n", name, result, t.now().Sub(begin).Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// issue has the certificate made, and finds out which issuer of the manifest made it.
func (t *test) issue(ctx context.Context) error {
	issued, err := t.client.Issue(ctx, t.settings.Selftest.Role, t.settings.Selftest.CommonName)
	if err != nil {
		return err
	}
	if t.leaf, err = parse(issued.Certificate); err != nil {
		return err
	}
	if t.ca, err = parse(issued.IssuingCA); err != nil {
		return err
	}
	manifest, err := t.client.Manifest(ctx)
	if err != nil {
		return err
	}
	for _, issuer := range manifest.Issuers {
		certificate, err := parse(issuer.Certificate)
		if err == nil && certificate.Equal(t.ca) {
			t.issuer = issuer.ID
			return nil
		}
	}
	return fault.New(fault.NotFound, "the issuer of the certificate is not in the manifest")
}

func parse(text string) (*x509.Certificate, error) {
	certificates, _, err := cert.ParseCertificates([]byte(text))
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 {
		return nil, fault.New(fault.Internal, "%d certificates instead of one", len(certificates))
	}
	return certificates[0], nil
}

// until returns what asks again and again until the answer is right, or the timeout
// has passed: then the last answer is the error.
func (t *test) until(ask func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		end := t.now().Add(t.settings.Selftest.Timeout)
		for {
			err := ask(ctx)
			if err == nil || !t.now().Before(end) {
				return err
			}
			timer := time.NewTimer(askEvery)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
	}
}

// ocspSays asks for the status by POST and verifies the answer.
func (t *test) ocspSays(wanted int) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := ocsp.CreateRequest(t.leaf, t.ca, nil)
		if err != nil {
			return err
		}
		body, err := t.ask(ctx, http.MethodPost, t.base+"/ocsp", request)
		if err != nil {
			return err
		}
		response, err := ocsp.ParseResponseForCert(body, t.leaf, t.ca)
		if err != nil {
			return fault.New(fault.Unavailable, "the edge's answer: %w", err)
		}
		if response.Status != wanted {
			return fault.New(fault.Conflict, "the edge says %s", [...]string{"good", "revoked", "unknown"}[response.Status])
		}
		return nil
	}
}

// listedAt looks at the list that the certificate names, where relying parties will: at
// the edge if it serves that path, else at the very place, which a publisher may fill.
func (t *test) listedAt(ctx context.Context, point string) error {
	parsed, err := url.Parse(point)
	if err != nil {
		return fault.New(fault.Invalid, "the certificate names a CRL at %q: %w", point, err)
	}
	err = t.listed(ctx, t.base+parsed.EscapedPath(), point)
	if fault.Is(err, fault.NotFound) {
		return t.listed(ctx, point, point)
	}
	return err
}

// distributionPoint is the OID of the extension issuingDistributionPoint.
const distributionPoint = "2.5.29.28"

// listed looks for the serial number on a CRL, verifies that, and that the list is for
// certificates that name this point: RFC 5280 section 6.3.3 (b) wants the names to be
// the same. An empty point is not looked at.
func (t *test) listed(ctx context.Context, place, point string) error {
	body, err := t.ask(ctx, http.MethodGet, place, nil)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		return fault.New(fault.Invalid, "the edge's CRL: %w", err)
	}
	if err := list.CheckSignatureFrom(t.ca); err != nil {
		return fault.New(fault.Invalid, "the edge's CRL: %w", err)
	}
	for _, extension := range list.Extensions {
		if extension.Id.String() == distributionPoint && bytes.Contains(extension.Value, []byte("://")) && !bytes.Contains(extension.Value, []byte(point)) {
			return fault.New(fault.Conflict, "CRL number %s is for another distribution point", list.Number)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(t.leaf.SerialNumber) == 0 {
			return nil
		}
	}
	return fault.New(fault.Conflict, "CRL number %s does not list the certificate", list.Number)
}

// ask sends a request. NotFound when there is nothing at the place.
func (t *test) ask(ctx context.Context, method, place string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, place, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/ocsp-request")
	}
	response, err := t.http.Do(request)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "asking the edge: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading the edge's answer: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return content, nil
	case http.StatusNotFound:
		return nil, fault.New(fault.NotFound, "there is nothing at %s", place)
	}
	return nil, fault.New(fault.Unavailable, "%s answers %d", place, response.StatusCode)
}
