package ocsp

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Issuers knows the CAs that may be asked about.
type Issuers interface {
	// Issuers returns every CA certificate that may be asked about, by issuer id; nil,
	// not empty, while they are not known. It touches no storage. Nobody changes what
	// it has returned; returning the same slice again while nothing changed is fastest.
	Issuers() []Issuer
}

// CertStatus is what is known of a certificate that was issued.
type CertStatus struct {
	State     State       // Good or Revoked
	Reason    cert.Reason // Revoked only
	RevokedAt time.Time   // Revoked only
	// Version differs between two states of one certificate.
	Version uint64
}

// States knows what became of every certificate.
type States interface {
	// Loaded reports whether nothing is missing; until then every answer is tryLater.
	Loaded() bool
	// State returns what is known of a certificate now; found is false when the issuer
	// has not issued the serial. An error makes the answer tryLater.
	State(issuer string, serial cert.Serial) (status CertStatus, found bool, err error)
}

// Signers knows who signs.
type Signers interface {
	// Signer returns who signs answers about an issuer's certificates at a time, nil
	// when nobody can. It is the same pointer for as long as it is the same signer: an
	// answer is kept no longer than its signer is in use.
	Signer(issuer string, now time.Time) *Signer
}

// AnswererConfig says what an Answerer works on. A nil Log discards.
type AnswererConfig struct {
	Issuers Issuers
	States  States
	Signers Signers
	Log     hclog.Logger
	Now     func() time.Time
}

// Answerer turns requests into answers: it parses, looks up, signs, and keeps what it
// signed while that is true. It knows no storage. All methods may be called at the
// same time.
type Answerer struct {
	config   AnswererConfig
	settings atomic.Pointer[Settings]
	table    atomic.Pointer[table]
	cache    *cache
}

// Answer is the answer to one request.
type Answer struct {
	DER    []byte // of the whole OCSPResponse; not to be changed
	Status Status
	// ThisUpdate and NextUpdate are those of a Successful answer; NextUpdate is zero
	// when newer information is always available.
	ThisUpdate, NextUpdate time.Time
	// MaxAge is how long the answer may be cached; 0: not at all.
	MaxAge time.Duration
}

// NewAnswerer returns an answerer with DefaultSettings.
func NewAnswerer(config AnswererConfig) *Answerer {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	a := &Answerer{config: config, cache: newCache()}
	a.Configure(DefaultSettings())
	return a
}

// Configure sets the settings from now on; answers made under others are not used
// again.
func (a *Answerer) Configure(settings Settings) {
	if now := a.settings.Load(); now == nil || *now != settings {
		a.settings.Store(&settings)
	}
}

// Answer returns the response to a DER request. It never fails and reads memory
// only. An answer that was given before costs no allocation.
func (a *Answerer) Answer(request []byte) (answer Answer) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			a.config.Log.Error("answering an OCSP request panicked", "cause", what, "stack", stack)
			answer = InternalError.answer()
		}
	}()
	settings := a.settings.Load()
	if settings.Disabled {
		return Unauthorized.answer()
	}
	if list := plainList(request); list != nil {
		if kept, ok := a.kept(list, settings); ok {
			return kept
		}
	}
	asked, status := parse(request)
	if status != Successful {
		return status.answer()
	}
	switch {
	case settings.NoNonce:
		asked.Nonce = nil
	case asked.oddNonce:
		return MalformedRequest.answer()
	}
	if asked.list != nil && asked.Nonce == nil {
		if kept, ok := a.kept(asked.list, settings); ok {
			return kept
		}
	}
	return a.answer(asked, settings)
}

// kept returns an answer that was given before and is still what would be said now.
func (a *Answerer) kept(list []byte, settings *Settings) (Answer, bool) {
	signed := a.cache.get(list)
	if signed == nil {
		return Answer{}, false
	}
	now := a.config.Now()
	if now.Before(signed.made) || !now.Before(signed.until) || signed.settings != settings {
		return Answer{}, false
	}
	source := a.config.Issuers.Issuers()
	if source == nil || !a.config.States.Loaded() || a.issuers(source) != signed.table ||
		a.signer(signed.issuers, now) != signed.signer {
		return Answer{}, false
	}
	for i := range signed.said {
		said := &signed.said[i]
		status, found, err := a.config.States.State(said.issuer, said.serial)
		if err != nil || !found || status != said.status {
			return Answer{}, false
		}
	}
	return signed.answer(now), true
}

// answer looks up and signs.
func (a *Answerer) answer(asked *Request, settings *Settings) Answer {
	source := a.config.Issuers.Issuers()
	if source == nil || !a.config.States.Loaded() {
		return TryLater.answer() // even an unknown issuer may turn out to be ours (rev-3)
	}
	table := a.issuers(source)
	issuers := table.issuersOf(asked, settings)
	if issuers == nil {
		return Unauthorized.answer()
	}
	now := a.config.Now()
	signer := a.signer(issuers, now)
	if signer == nil {
		return TryLater.answer()
	}
	said, whole, err := a.look(asked, issuers)
	if err != nil {
		return TryLater.answer()
	}
	if !whole && settings.NeverIssued == SayUnauthorized {
		return Unauthorized.answer()
	}
	made := &signed{made: now.UTC().Truncate(time.Second), table: table, issuers: issuers, signer: signer, settings: settings, said: said}
	if err := made.sign(asked); err != nil {
		a.config.Log.Error("OCSP response could not be signed", "error", err)
		return InternalError.answer()
	}
	// Only what is known is kept: asking for serials at random must not push out
	// the answers that others wait for.
	if !whole || asked.Nonce != nil {
		made.until = made.made
	} else if asked.list != nil && made.until.After(now) {
		made.key = string(asked.list)
		a.cache.put(made)
	}
	return made.answer(now)
}

// issuers returns the table of the issuers as they are now.
func (a *Answerer) issuers(source []Issuer) *table {
	if t := a.table.Load(); t != nil && t.current(source) {
		return t
	}
	t, failed := newTable(source)
	if len(failed) > 0 {
		a.config.Log.Error("issuers with a malformed certificate get no OCSP answers", "issuers", failed)
	}
	a.table.Store(t)
	return t
}

// signer returns who signs for one of the issuers, all of which have the same name
// and key; nil when nobody can.
func (a *Answerer) signer(issuers []string, now time.Time) *Signer {
	for _, id := range issuers {
		if s := a.config.Signers.Signer(id, now); s != nil {
			return s
		}
	}
	return nil
}

// look returns what is known of each certificate asked about, State Unknown for one
// that none of the issuers has issued; whole says that there is no such.
func (a *Answerer) look(asked *Request, issuers []string) (said []statement, whole bool, err error) {
	said, whole = make([]statement, len(asked.CertIDs)), true
	for i, id := range asked.CertIDs {
		said[i] = statement{serial: id.Serial, status: CertStatus{State: Unknown}}
		if id.Serial == "" {
			whole = false
			continue
		}
		found := false
		for _, issuer := range issuers {
			status, known, err := a.config.States.State(issuer, id.Serial)
			if err != nil {
				return nil, false, err
			}
			if known {
				said[i].issuer, said[i].status, found = issuer, status, true
				break
			}
		}
		whole = whole && found
	}
	return said, whole, nil
}

// answer is the answer that has a status and nothing else.
func (s Status) answer() Answer { return Answer{DER: s.Response(), Status: s} }
