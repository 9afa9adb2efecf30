package load

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/crypto/ocsp"
)

// asked is how many certificates OCSP requests are about.
const asked = 64

func ocspTasks(ctx context.Context, b *bench, _ int) (ours, builtIn task, err error) {
	mounts, err := b.shared(ctx)
	if err != nil {
		return task{}, task{}, err
	}
	if ours, err = b.ocspTask(ctx, mounts.ours); err != nil {
		return task{}, task{}, err
	}
	builtIn, err = b.ocspTask(ctx, mounts.builtIn)
	return ours, builtIn, err
}

// ocspTask asks a mount through Vault, by GET, about certificates issued for that.
func (b *bench) ocspTask(ctx context.Context, m *mount) (task, error) {
	root, err := certificateIn(m.authored)
	if err != nil {
		return task{}, err
	}
	serials, err := b.stock(ctx, m, asked)
	if err != nil {
		return task{}, err
	}
	requests := make([]request, len(serials))
	for i, serial := range serials {
		if requests[i], err = statusRequest(m, serial, root); err != nil {
			return task{}, err
		}
	}
	return statusTask(requests, root, strings.TrimPrefix(b.server.Address, "http://")), nil
}

// statusTask asks for statuses over lines to an address; the answers are to be good.
func statusTask(requests []request, root *x509.Certificate, address string) task {
	check := func(answer []byte) error { return checkStatus(answer, root, ocsp.Good) }
	return task{units: 1, next: turns(requests), check: check, line: address}
}

// statusRequest asks by OCSP, through Vault, for the status of a certificate that the
// root signed.
func statusRequest(m *mount, text string, root *x509.Certificate) (request, error) {
	der, err := question(text, root)
	if err != nil {
		return request{}, err
	}
	r := request{method: http.MethodGet, path: m.path + "/ocsp/" + inPath(der)}
	r.wire = r.prepared("/v1/" + r.path)
	return r, nil
}

// question returns the OCSP request about a certificate that the root signed.
func question(text string, root *x509.Certificate) ([]byte, error) {
	serial, err := serialNumber(text)
	if err != nil {
		return nil, err
	}
	return ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial}, root, nil)
}

// inPath encodes an OCSP request as a GET carries it (RFC 6960 appendix A.1).
func inPath(der []byte) string { return url.PathEscape(base64.StdEncoding.EncodeToString(der)) }

// checkStatus looks whether an OCSP answer says so.
func checkStatus(answer []byte, root *x509.Certificate, status int) error {
	response, err := ocsp.ParseResponse(answer, root)
	if err != nil {
		return err
	}
	if response.Status != status {
		return fmt.Errorf("the OCSP status of a certificate is %d, not %d", response.Status, status)
	}
	return nil
}
