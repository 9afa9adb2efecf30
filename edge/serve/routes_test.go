package serve_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	edgeocsp "vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/edge/serve"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// over has the fixture serve issuers.
func (f *fixture) over(issuers ...*state.Issuer) {
	snapshot := &state.Snapshot{Issuers: issuers, Rows: f.rows, Synced: f.synced}
	f.Server = serve.New(serve.Config{
		Snapshot: func() *state.Snapshot { return snapshot },
		Answerer: edgeocsp.NewAnswerer(edgeocsp.AnswererConfig{Issuers: f, States: f, Signers: f, Now: f.Now}),
		OpenList: f.open, SignerEnds: f.ends, Polls: func() (uint64, uint64) { return 0, 0 }, Now: f.Now,
		Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("page")) }),
	})
}

func (f *fixture) post(t *testing.T, target string, request []byte) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, target, bytes.NewReader(request)))
	return recorder
}

func listAt(urls ...string) state.List {
	return state.List{Kind: feed.Complete, Number: 7, NextUpdate: time.Now().Add(time.Hour), Size: 10, SHA256: digest, URLs: urls}
}

func TestOCSPIsAnsweredWhereverCertificatesSayThatItIs(t *testing.T) {
	f := newFixture(t)
	issuer := &state.Issuer{ID: edgemount.Issuer, Certificate: f.ca, OCSP: true, Lists: []state.List{listAt("http://e/lists/MA.crl")}}
	for _, responder := range []string{"http://ocsp.example.com", "http://ocsp.example.com/", "http://e/publicweb/status/ocsp", "http://e/a/"} {
		issuer.URLs = state.URLs{OCSP: []string{responder, "http://e/a/b"}}
		f.over(issuer)
		der := f.request(t, "\x01")
		parsed, err := url.Parse(responder)
		require.NoError(t, err)
		path := parsed.Path
		if path == "" {
			path = "/"
		}
		get := strings.TrimRight(path, "/") + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(der))
		for _, answer := range []*httptest.ResponseRecorder{f.post(t, path, der), f.get(t, get), f.get(t, "/ocsp/"+base64.StdEncoding.EncodeToString(der))} {
			require.Equal(t, http.StatusOK, answer.Code, responder)
			response, err := ocsp.ParseResponse(answer.Body.Bytes(), f.ca)
			require.NoError(t, err, responder)
			require.Equal(t, ocsp.Good, response.Status)
		}
		require.Equal(t, "page", body(f.get(t, "/")), "the page stays at the root")
		require.Equal(t, http.StatusOK, f.get(t, "/healthz").Code)
		require.Equal(t, http.StatusOK, f.get(t, "/lists/MA.crl").Code, "a file is found before a responder")
		require.Equal(t, http.StatusNotFound, f.get(t, "/nothing").Code)
		require.Equal(t, http.StatusMethodNotAllowed, f.post(t, "/lists/MA.crl", der).Code)
		require.Equal(t, http.StatusMethodNotAllowed, f.post(t, path+"x", der).Code)
	}
	f.over(&state.Issuer{ID: edgemount.Issuer, Certificate: f.ca, OCSP: true})
	require.Equal(t, http.StatusMethodNotAllowed, f.post(t, "/", nil).Code, "no certificate says so")
	require.Equal(t, http.StatusMethodNotAllowed, f.post(t, "/ocspx", nil).Code)
}

func TestOCSP1_WhatIsMalformedBelowAnotherPathIsAnsweredSo(t *testing.T) {
	f := newFixture(t)
	f.over(&state.Issuer{ID: edgemount.Issuer, Certificate: f.ca, OCSP: true, URLs: state.URLs{OCSP: []string{"http://e/status", "http://e"}}})
	for target, status := range map[string]int{"/status/!": http.StatusBadRequest, "/M": http.StatusBadRequest, "/x": http.StatusNotFound, "/statusx": http.StatusNotFound} {
		require.Equal(t, status, f.get(t, target).Code, target)
	}
}

func TestPresentURLsComeBeforeThoseOfEarlierSettings(t *testing.T) {
	f := newFixture(t)
	first := &state.Issuer{
		ID: "first", Certificate: f.ca, Lists: []state.List{listAt("http://e/shared.crl", "http://e/old.crl")},
		URLs: state.URLs{CAIssuers: []string{"http://e/shared.cer", "http://e/old.cer"}, Earlier: map[string]bool{
			"http://e/shared.crl": true, "http://e/old.crl": true, "http://e/shared.cer": true, "http://e/old.cer": true,
		}},
	}
	other := edgemount.New(t, time.Now).CA
	list := listAt("http://e/shared.crl")
	list.SHA256 = "cd" + digest[2:]
	second := &state.Issuer{ID: "second", Certificate: other, Lists: []state.List{list}, URLs: state.URLs{CAIssuers: []string{"http://e/shared.cer"}}}
	f.over(first, second)
	require.Equal(t, `"`+list.SHA256+`"`, f.get(t, "/shared.crl").Header().Get("Etag"))
	require.Equal(t, other.Raw, f.get(t, "/shared.cer").Body.Bytes())
	require.Equal(t, `"`+digest+`"`, f.get(t, "/old.crl").Header().Get("Etag"))
	require.Equal(t, f.ca.Raw, f.get(t, "/old.cer").Body.Bytes())
}

func TestCACertificatesAreServedInTheFormThatTheURLSays(t *testing.T) {
	f := newFixture(t)
	f.over(&state.Issuer{ID: "a", Certificate: f.ca, URLs: state.URLs{CAIssuers: []string{
		"http://e/certs/a.cer", "http://e/v1/pki/ca", "http://e/a.pem", "http://e/v1/pki/ca/pem", "http://e/a.p7c", "ldap://e/cn=a", "http://e", "http://e/healthz",
	}}})
	for path, kind := range map[string]string{
		"/certs/a.cer": "application/pkix-cert", "/v1/pki/ca": "application/pkix-cert", "/a.pem": "application/x-pem-file",
		"/v1/pki/ca/pem": "application/x-pem-file", "/a.p7c": "application/pkcs7-mime; smime-type=certs-only",
	} {
		answer := f.get(t, path)
		require.Equal(t, http.StatusOK, answer.Code, path)
		require.Equal(t, kind, answer.Header().Get("Content-Type"))
		require.True(t, bytes.Contains(answer.Body.Bytes(), f.ca.Raw) || kind == "application/x-pem-file")
	}
	require.Equal(t, "ok\n", body(f.get(t, "/healthz")))
	require.Equal(t, "page", body(f.get(t, "/")))
}

// An issuing CA's certificate names the list, the certificate and the responder of the
// CA above it, also where that is known from the chain alone.
func TestURLsOfCACertificatesAreServed(t *testing.T) {
	f := newFixture(t)
	root := edgemount.New(t, time.Now)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Issuing"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		CRLDistributionPoints: []string{"http://e/roots/root.crl"}, IssuingCertificateURL: []string{"http://e/roots/root.cer"}, OCSPServer: []string{"http://e/roots/ocsp"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 46}, Value: cert.MarshalPoints([]string{"http://e/roots/delta.crl"})}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.CA, key.Public(), root.Key)
	require.NoError(t, err)
	issuing, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	chain := []*x509.Certificate{root.CA}
	delta := listAt()
	delta.Kind = feed.Delta
	f.over(&state.Issuer{ID: "issuing", Certificate: issuing, Chain: chain}, &state.Issuer{ID: "root", Certificate: root.CA, Lists: []state.List{listAt(), delta}})
	require.Equal(t, root.CA.Raw, f.get(t, "/roots/root.cer").Body.Bytes())
	require.Equal(t, http.StatusOK, f.get(t, "/roots/root.crl").Code)
	require.Equal(t, http.StatusOK, f.get(t, "/roots/delta.crl").Code)
	require.Equal(t, http.StatusOK, f.post(t, "/roots/ocsp", f.request(t, "\x01")).Code)
	f.over(&state.Issuer{ID: "issuing", Certificate: issuing, Chain: chain})
	require.Equal(t, root.CA.Raw, f.get(t, "/roots/root.cer").Body.Bytes(), "known from the chain")
	require.Equal(t, http.StatusNotFound, f.get(t, "/roots/root.crl").Code)
	f.over(&state.Issuer{ID: "issuing", Certificate: issuing})
	require.Equal(t, http.StatusNotFound, f.get(t, "/roots/root.cer").Code, "nobody knows it")
}
