package ocsp

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Responder answers OCSP requests for all issuers of one mount: an Answerer over the
// ledger, and the delegated responders that sign.
type Responder struct {
	config   Config
	records  kv.Table[record]
	answerer *Answerer
	choices  atomic.Pointer[choices] // nil: to be read
	writing  sync.Mutex              // whoever holds it is the only one that changes config/ocsp

	preparing sync.Mutex // one Prepare at a time: a key is made once

	mu        sync.RWMutex // guards what follows; held for map accesses only
	delegates map[string]*delegate
	directs   map[string]*Signer // CAs that answer for themselves, see Options.AllowCADirect
	failures  map[string]error
}

// recordVersion is the version that a stored responder record carries.
const recordVersion = 1

// New returns a responder that has touched nothing.
func New(config Config) *Responder {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	r := &Responder{
		config:    config,
		records:   kv.NewTable[record](config.Store, layout.Responder, recordVersion),
		delegates: map[string]*delegate{},
		directs:   map[string]*Signer{},
		failures:  map[string]error{},
	}
	r.answerer = NewAnswerer(AnswererConfig{
		Issuers: config.Source, States: issued{config.Ledger, config.Source}, Signers: r, Log: config.Log, Now: config.Now,
	})
	return r
}

// Configure sets the settings from now on; answers made under others are not used
// again.
func (r *Responder) Configure(settings Settings) { r.answerer.Configure(settings) }

// Answer returns the DER of the response to a DER request: it never fails, does no
// storage operation and uses no CA key. maxAge is how long the answer may be
// cached, 0 for not at all. The caller must not change the response.
func (r *Responder) Answer(request []byte) (response []byte, maxAge time.Duration) {
	answer := r.answerer.Answer(request)
	return answer.DER, answer.MaxAge
}

// issued shows the rows of a ledger as States.
type issued struct {
	*ledger.Ledger

	source Source
}

// State implements States. It fails until the ledger is loaded (rev-3).
func (i issued) State(ca string, serial cert.Serial) (CertStatus, bool, error) {
	row, found, err := i.Row(serial)
	if err != nil || !found {
		return CertStatus{}, false, err
	}
	if belongs, err := i.source.Belongs(row.Issuer, ca); err != nil || !belongs {
		return CertStatus{}, false, err
	}
	status := CertStatus{State: Good, Version: row.Sequence}
	if !row.RevokedAt.IsZero() {
		status.State, status.RevokedAt, status.Reason = Revoked, row.RevokedAt, row.Reason
	}
	return status, true, nil
}
