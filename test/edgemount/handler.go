package edgemount

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// An answer holds at least these octets of a list: few, so that every list has several
// pieces. A long list has eight, or pieces as long as those of a mount.
const (
	leastPiece = 100
	mostPiece  = 480 << 10
)

// piece returns how many octets of a list an answer holds. With pieces of one size, a
// list of a million entries would take 400,000 requests.
func piece(der []byte) int { return min(max(leastPiece, len(der)/8), mostPiece) }

func bodyKey(list string, number int64) string { return list + "/" + strconv.FormatInt(number, 10) }

func (m *Mount) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/auth/approle/login", m.login)
	mux.HandleFunc("POST /v1/auth/token/renew-self", m.inside("renew", m.renew))
	mux.HandleFunc("GET /v1/auth/token/lookup-self", m.inside("lookup", m.lookup))
	mux.HandleFunc("GET /v1/pki/edge/manifest", m.inside("manifest", m.getManifest))
	mux.HandleFunc("GET /v1/pki/edge/status/-", m.inside("status", m.getStatus))
	mux.HandleFunc("GET /v1/pki/edge/crl/{issuer}/{list}/{number}/{chunk}", m.inside("crl", m.getChunk))
	mux.HandleFunc("POST /v1/pki/edge/ocsp-signer/{issuer}", m.inside("signer", m.postSigner))
	mux.HandleFunc("POST /v1/pki/issue/{role}", m.inside("issue", m.postIssue))
	mux.HandleFunc("POST /v1/pki/revoke", m.inside("revoke", m.postRevoke))
	return mux
}

func reply(w http.ResponseWriter, frame string, content any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{frame: content})
}

func fail(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
}

// inside counts a request, holds the lock, and refuses what Vault would refuse.
func (m *Mount) inside(name string, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests[name]++
		switch {
		case m.refuse != 0:
			fail(w, m.refuse, "Vault is sealed")
		case r.Header.Get("X-Vault-Token") != m.token || r.Header.Get("X-Vault-Request") != "true":
			fail(w, http.StatusForbidden, "permission denied")
		default:
			serve(w, r)
		}
	}
}

func (m *Mount) login(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["login"]++
	var body struct {
		RoleID   string `json:"role_id"`
		SecretID string `json:"secret_id"`
	}
	if m.refuse != 0 {
		fail(w, m.refuse, "Vault is sealed")
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.RoleID != RoleID || body.SecretID != SecretID {
		fail(w, http.StatusBadRequest, "invalid role or secret ID")
		return
	}
	reply(w, "auth", map[string]any{"client_token": m.token, "lease_duration": int(m.lifetime / time.Second), "renewable": true})
}

func (m *Mount) renew(w http.ResponseWriter, _ *http.Request) {
	reply(w, "auth", map[string]any{"client_token": m.token, "lease_duration": int(m.lifetime / time.Second), "renewable": true})
}

func (m *Mount) lookup(w http.ResponseWriter, _ *http.Request) {
	reply(w, "data", map[string]any{"ttl": int(m.lifetime / time.Second), "renewable": true})
}

func (m *Mount) getManifest(w http.ResponseWriter, _ *http.Request) { reply(w, "data", m.manifest) }

func (m *Mount) getStatus(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	since, _ := strconv.ParseInt(query.Get("since"), 10, 64)
	epoch := query.Get("epoch")
	status := feed.Status{Epoch: m.manifest.Epoch}
	end, continues := m.history[epoch]
	if epoch == m.manifest.Epoch {
		end, continues = m.manifest.Sequence, true
	}
	if !continues || since > end {
		status.Reset, since = true, 0
	}
	rows := m.rows[since:]
	if len(rows) > m.pageRows {
		rows, status.More = rows[:m.pageRows], true
	}
	status.Sequence, status.Count = since+int64(len(rows)), len(rows)
	var err error
	if status.Rows, err = feed.Text(rows); err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	reply(w, "data", status)
}

func (m *Mount) getChunk(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.ParseInt(r.PathValue("number"), 10, 64)
	index, _ := strconv.Atoi(r.PathValue("chunk"))
	der := m.bodies[bodyKey(r.PathValue("list"), number)]
	chunk := piece(der)
	if r.PathValue("issuer") != Issuer || index*chunk >= len(der) {
		fail(w, http.StatusNotFound, "not the newest any more")
		return
	}
	part := der[index*chunk : min((index+1)*chunk, len(der))]
	reply(w, "data", feed.Chunk{Data: base64.StdEncoding.EncodeToString(part), Last: (index+1)*chunk >= len(der)})
}

func (m *Mount) postSigner(w http.ResponseWriter, r *http.Request) {
	var body struct {
		CSR string `json:"csr"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	certificate, err := m.certify(body.CSR)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	serial := cert.SerialOf(certificate.SerialNumber)
	reply(w, "data", feed.OCSPSigner{Certificate: pemOf(certificate.Raw), IssuerID: Issuer, SerialNumber: serial.String()})
}

// SignResponder is what an edge asks for without the network in between.
func (m *Mount) SignResponder(ctx context.Context, _, csr string) (*x509.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["signer"]++
	if m.refuse != 0 {
		return nil, errors.New("sealed")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m.certify(csr)
}

// certify makes the certificate of a responder.
func (m *Mount) certify(csr string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return nil, errors.New("csr: must be PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	m.serial++
	now := m.now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(m.serial), Subject: pkix.Name{CommonName: fmt.Sprintf("responder %d", m.serial)},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(m.responder),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}, m.CA, request.PublicKey, m.Key)
	if err != nil {
		return nil, err
	}
	m.add(feed.Row{Serial: cert.SerialOf(big.NewInt(m.serial)), State: feed.Good})
	return x509.ParseCertificate(der)
}

func (m *Mount) postIssue(w http.ResponseWriter, _ *http.Request) {
	m.serial++
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(m.serial), Subject: pkix.Name{CommonName: "canary"},
		NotBefore: m.now().Add(-time.Minute), NotAfter: m.now().Add(time.Hour),
	}, m.CA, m.Key.Public(), m.Key)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	serial := cert.SerialOf(big.NewInt(m.serial))
	m.add(feed.Row{Serial: serial, State: feed.Good})
	reply(w, "data", map[string]any{"certificate": pemOf(der), "issuing_ca": pemOf(m.CA.Raw), "serial_number": serial.String()})
}

func (m *Mount) postRevoke(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Serial string `json:"serial_number"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	serial, err := cert.ParseSerial(strings.TrimSpace(body.Serial))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	m.add(feed.Row{Serial: serial, State: feed.Revoked, Reason: cert.KeyCompromise, RevokedAt: m.now().Truncate(time.Second)})
	reply(w, "data", map[string]any{"state": "revoked"})
}
