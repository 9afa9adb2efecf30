package ocsp

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Responder answers OCSP requests for all issuers of one mount.
type Responder struct {
	config   Config
	records  kv.Table[record]
	settings atomic.Pointer[Settings]
	table    atomic.Pointer[table]
	cache    *cache

	preparing sync.Mutex // one Prepare at a time: a key is made once

	mu        sync.RWMutex // guards what follows; held for map accesses only
	delegates map[string]*delegate
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
		cache:     newCache(),
		delegates: map[string]*delegate{},
		failures:  map[string]error{},
	}
	r.Configure(DefaultSettings())
	return r
}

// Configure sets the settings from now on; answers made under others are not used
// again.
func (r *Responder) Configure(settings Settings) { r.settings.Store(&settings) }

// Answer returns the DER of the response to a DER request: it never fails, does no
// storage operation and uses no CA key. maxAge is how long the answer may be
// cached, 0 for not at all. The caller must not change the response.
func (r *Responder) Answer(request []byte) (response []byte, maxAge time.Duration) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			r.config.Log.Error("answering an OCSP request panicked", "cause", what, "stack", stack)
			response, maxAge = InternalError.Response(), 0
		}
	}()
	settings := r.settings.Load()
	if settings.Disabled {
		return Unauthorized.Response(), 0
	}
	asked, status := ParseRequest(request)
	if status != Successful {
		return status.Response(), 0
	}
	source := r.config.Source.Issuers()
	if source == nil || !r.config.Ledger.Loaded() {
		return TryLater.Response(), 0 // even an unknown issuer may turn out to be ours (rev-3)
	}
	issuers := r.issuers(source).issuersOf(asked)
	if issuers == nil {
		return Unauthorized.Response(), 0
	}
	now := r.config.Now()
	signer := r.delegate(issuers, now)
	if signer == nil {
		return TryLater.Response(), 0
	}
	rows, whole, err := r.rows(asked, issuers)
	if err != nil {
		return TryLater.Response(), 0
	}
	key, cacheable := cacheKey(asked)
	// Only what is known is kept: asking for serials at random must not push out
	// the answers that others wait for.
	cacheable = cacheable && whole
	if cacheable {
		if a := r.cache.get(key); a != nil && a.holds(now, signer, settings, versions(rows)) {
			return a.der, a.until.Sub(now)
		}
	}
	made, err := r.answer(asked, rows, now, signer, settings)
	if err != nil {
		r.config.Log.Error("OCSP response could not be signed", "error", err)
		return InternalError.Response(), 0
	}
	if !cacheable || !made.until.After(now) {
		return made.der, 0
	}
	made.key = key
	r.cache.put(made)
	return made.der, made.until.Sub(now)
}

// issuers returns the table of the issuers as they are now.
func (r *Responder) issuers(source []Issuer) *table {
	if t := r.table.Load(); t != nil && t.current(source) {
		return t
	}
	t, failed := newTable(source)
	if len(failed) > 0 {
		r.config.Log.Error("issuers with a malformed certificate get no OCSP answers", "issuers", failed)
	}
	r.table.Store(t)
	return t
}

// rows returns the row of each certificate asked about, the zero row for one that
// none of the issuers has issued; whole says that there is no such. It fails until
// the ledger is loaded (rev-3).
func (r *Responder) rows(asked *Request, issuers []string) (rows []ledger.Row, whole bool, err error) {
	rows, whole = make([]ledger.Row, len(asked.CertIDs)), true
	for i, id := range asked.CertIDs {
		row, found, err := r.config.Ledger.Row(id.Serial)
		if err != nil {
			return nil, false, err
		}
		if !found || id.Serial == "" || !slices.Contains(issuers, row.Issuer) {
			whole = false
			continue
		}
		rows[i] = row
	}
	return rows, whole, nil
}

func versions(rows []ledger.Row) []version {
	all := make([]version, len(rows))
	for i, row := range rows {
		all[i] = versionOf(row)
	}
	return all
}

// answer signs what the rows say.
func (r *Responder) answer(asked *Request, rows []ledger.Row, now time.Time, signer *delegate, settings *Settings) (*answer, error) {
	made := &answer{from: now.UTC().Truncate(time.Second), signer: signer, settings: settings, versions: versions(rows)}
	response := Response{ThisUpdate: made.from, Nonce: asked.Nonce, Singles: make([]Single, len(rows))}
	for i, row := range rows {
		response.Singles[i] = single(asked.CertIDs[i], row)
	}
	made.until = made.from
	if settings.Expiry > 0 {
		// Beyond the end of the responder's certificate nobody could verify it.
		response.NextUpdate = made.from.Add(settings.Expiry)
		if end := signer.certificate.NotAfter; response.NextUpdate.After(end) {
			response.NextUpdate = end
		}
		made.until = made.from.Add(response.NextUpdate.Sub(made.from) / 2)
	}
	var err error
	made.der, err = signer.signer.Encode(response)
	return made, err
}

// single says what a row means: what was never issued is unknown, never good
// (ocsp-1).
func single(id CertID, row ledger.Row) Single {
	answer := Single{CertID: id.Raw, State: Good}
	switch {
	case row.Serial == "":
		answer.State = Unknown
	case !row.RevokedAt.IsZero():
		answer.State, answer.RevokedAt, answer.Reason = Revoked, row.RevokedAt, row.Reason
		if !row.Reason.Known() || row.Reason == cert.RemoveFromCRL {
			// A reason that makes no sense must not hide the revocation.
			answer.Reason = cert.Unspecified
		}
	}
	return answer
}
