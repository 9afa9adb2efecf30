package vault

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// Manifest returns what the mount publishes.
func (c *Client) Manifest(ctx context.Context) (*feed.Manifest, error) {
	var manifest feed.Manifest
	err := c.call(ctx, exchange{method: http.MethodGet, path: "edge/manifest", target: &manifest})
	return &manifest, err
}

// Page is one page of the status feed.
type Page struct {
	Epoch    string
	Sequence int64 // cursor of the next page
	More     bool
	Reset    bool // the rows are from the beginning
	Rows     []feed.Row
}

// Status returns what follows a cursor; no epoch and 0 are the beginning.
func (c *Client) Status(ctx context.Context, epoch string, since int64) (Page, error) {
	query := url.Values{"limit": {strconv.Itoa(feed.MaxRows)}}
	if epoch != "" {
		query.Set("epoch", epoch)
		query.Set("since", strconv.FormatInt(since, 10))
	}
	var status feed.Status
	if err := c.call(ctx, exchange{method: http.MethodGet, path: "edge/status/-", query: query, target: &status}); err != nil {
		return Page{}, err
	}
	rows, err := feed.ReadText(status.Rows)
	if err != nil {
		return Page{}, err
	}
	return Page{Epoch: status.Epoch, Sequence: status.Sequence, More: status.More, Reset: status.Reset, Rows: rows}, nil
}

// Chunk returns one part of a list, counted from 0, and whether it is the last one.
// NotFound when the mount has a newer list by now.
func (c *Client) Chunk(ctx context.Context, issuer, list string, number int64, index int) (data []byte, last bool, err error) {
	var chunk feed.Chunk
	path := "edge/crl/" + issuer + "/" + list + "/" + strconv.FormatInt(number, 10) + "/" + strconv.Itoa(index)
	if err := c.call(ctx, exchange{method: http.MethodGet, path: path, target: &chunk}); err != nil {
		return nil, false, err
	}
	data, err = base64.StdEncoding.DecodeString(chunk.Data)
	if err != nil {
		return nil, false, fault.New(fault.Internal, "%s: the part is no base64", path)
	}
	return data, chunk.Last, nil
}

// SignResponder has the issuer certify the key of a request in PEM as that of an OCSP
// responder.
func (c *Client) SignResponder(ctx context.Context, issuer, csr string) (*x509.Certificate, error) {
	var signed feed.OCSPSigner
	e := exchange{method: http.MethodPost, path: "edge/ocsp-signer/" + issuer, body: map[string]string{"csr": csr}, target: &signed}
	if err := c.call(ctx, e); err != nil {
		return nil, err
	}
	certificates, _, err := cert.ParseCertificates([]byte(signed.Certificate))
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 {
		return nil, fault.New(fault.Internal, "%s: %d certificates instead of one", e.path, len(certificates))
	}
	return certificates[0], nil
}

// Report tells the mount what was published by one of its publishers.
func (c *Client) Report(ctx context.Context, publisher string, report feed.Report) error {
	return c.call(ctx, exchange{method: http.MethodPost, path: "publishers/" + url.PathEscape(publisher) + "/status", body: report})
}

// Issued is a certificate made for a test.
type Issued struct {
	Certificate string   `json:"certificate"` // PEM
	IssuingCA   string   `json:"issuing_ca"`  // PEM
	CAChain     []string `json:"ca_chain"`
	Serial      string   `json:"serial_number"`
}

// Issue has a role issue a certificate with a key of its own, which is thrown away.
func (c *Client) Issue(ctx context.Context, role, commonName string) (Issued, error) {
	var issued Issued
	err := c.call(ctx, exchange{
		method: http.MethodPost, path: "issue/" + url.PathEscape(role),
		body: map[string]string{"common_name": commonName}, target: &issued,
	})
	return issued, err
}

// Revoke revokes a certificate by its serial number. keyCompromise is what makes the
// mount build the CRL at once.
func (c *Client) Revoke(ctx context.Context, serial string) error {
	return c.call(ctx, exchange{
		method: http.MethodPost, path: "revoke",
		body: map[string]string{"serial_number": serial, "reason": cert.KeyCompromise.String()},
	})
}
