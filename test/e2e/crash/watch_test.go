package crash_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// watcher is a relying party: it asks what it is told, whatever is killed meanwhile.
type watcher struct {
	*site
	dice *dice
}

const watchPause = 10 * time.Millisecond

// askOCSP asks for the status of certificates that were received: what was
// acknowledged as revoked is never good, what nobody revoked is never anything else.
func (w *watcher) askOCSP(ctx context.Context) {
	for ctx.Err() == nil {
		if entry := w.book.pick(w.dice); entry != nil {
			w.status(entry)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// ocspReasons are those of RFC 5280 section 5.3.1 for which clients revoke.
var ocspReasons = map[int]string{ocsp.KeyCompromise: "keyCompromise", ocsp.Superseded: "superseded"}

// status asks for the status of one certificate and holds it against the book, as it
// was before the request. It reports whether there was an answer other than tryLater.
func (s *site) status(entry *issued) (answered bool) {
	revoked, _ := s.book.state(entry)
	leaf, err := x509.ParseCertificate(entry.der)
	if err != nil {
		s.book.problem("%s: %v", entry.serial, err)
		return true
	}
	request, err := ocsp.CreateRequest(leaf, s.root, nil)
	if err != nil {
		s.book.problem("%s: %v", entry.serial, err)
		return true
	}
	a := s.ask(http.MethodGet, mount+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)), nil)
	if !a.ok() {
		return false
	}
	response, err := ocsp.ParseResponseForCert(a.Body, leaf, s.root)
	if errors.Is(err, ocsp.ResponseError{Status: ocsp.TryLater}) {
		return false
	}
	if err != nil {
		s.book.problem("OCSP answer for %s: %v", entry.serial, err)
		return true
	}
	_, asked := s.book.state(entry)
	switch {
	case revoked != nil:
		if response.Status != ocsp.Revoked || ocspReasons[response.RevocationReason] != revoked.Reason || response.RevokedAt.Unix() != revoked.Time {
			s.book.problem("%s was acknowledged as revoked %+v, OCSP says: %s", entry.serial, *revoked, say(response))
		}
	case response.Status == ocsp.Revoked:
		if !slices.Contains(asked, ocspReasons[response.RevocationReason]) {
			s.book.problem("%s: nobody asked for this revocation: %s", entry.serial, say(response))
		}
	case response.Status != ocsp.Good:
		s.book.problem("%s was received, OCSP says: %s", entry.serial, say(response))
	}
	return true
}

func say(r *ocsp.Response) string {
	switch r.Status {
	case ocsp.Good:
		return "good"
	case ocsp.Revoked:
		return fmt.Sprintf("revoked at %d for %s (%d)", r.RevokedAt.Unix(), ocspReasons[r.RevocationReason], r.RevocationReason)
	}
	return "unknown"
}

// readCRLs reads the CRL again and again: its number never decreases, a number names
// one list, and what is on a list is on all that follow.
func (w *watcher) readCRLs(ctx context.Context) {
	var last *x509.RevocationList
	for ctx.Err() == nil {
		began := time.Now()
		if list := w.crl(); list != nil {
			w.compare(last, list)
			last = list
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause + 5*time.Since(began)): // long lists take long
		}
	}
}

// crl fetches the CRL, verifies it and notes its number; nil when there was no
// answer.
func (s *site) crl() *x509.RevocationList {
	a := s.ask(http.MethodGet, mount+"/crl", nil)
	if !a.ok() {
		return nil
	}
	list, err := x509.ParseRevocationList(a.Body)
	if err != nil {
		s.book.problem("the CRL (status %d, %d octets): %v", a.Status, len(a.Body), err)
		return nil
	}
	if err := list.CheckSignatureFrom(s.root); err != nil {
		s.book.problem("the CRL %s: %v", list.Number, err)
	}
	s.book.numbered(list.Number)
	return list
}

func (s *site) compare(last, list *x509.RevocationList) {
	if last == nil || bytes.Equal(last.Raw, list.Raw) {
		return
	}
	if list.Number.Cmp(last.Number) <= 0 {
		s.book.problem("CRL %s follows CRL %s and differs from it", list.Number, last.Number)
	}
	now := listed(list)
	for serial := range listed(last) {
		if _, still := now[serial]; !still {
			s.book.problem("CRL %s lists %s, CRL %s does not", last.Number, serial, list.Number)
		}
	}
}

// listed returns the entries of a CRL by serial number in decimal.
func listed(list *x509.RevocationList) map[string]x509.RevocationListEntry {
	entries := make(map[string]x509.RevocationListEntry, len(list.RevokedCertificateEntries))
	for _, entry := range list.RevokedCertificateEntries {
		entries[entry.SerialNumber.String()] = entry
	}
	return entries
}
