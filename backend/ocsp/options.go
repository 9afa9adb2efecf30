package ocsp

import (
	"context"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Options are config/ocsp. What the built-in engine has too, ocsp_expiry and
// ocsp_disable, stays in config/crl.
type Options struct {
	NeverIssued       string `json:"never_issued" default:"unknown" enum:"unknown|revoked|unauthorized" doc:"Response for serial numbers that were never issued: unknown; revoked, for clients that treat unknown like good (RFC 6960 section 2.2); or unauthorized, which is not signed."`
	AllowCADirect     bool   `json:"allow_ca_direct" default:"false" doc:"Let the CA's own key sign responses while there is no delegated responder certificate. Each response that is not cached then uses the CA's key, also in a token."`
	ResponderValidity int64  `json:"responder_validity" default:"336h" kind:"duration" doc:"How long the certificates of delegated responders are valid, 1h to 90 days; they are replaced at two thirds of it."`
	Nonce             bool   `json:"nonce" default:"true" doc:"Repeat the nonce of a request in the response (RFC 9654). With false, responses have no nonce and can be cached."`
	SHA1              bool   `json:"sha1" default:"true" doc:"Accept requests that name the issuer by SHA-1, as most clients do. The hash has no security function here."`
	ArchiveCutoff     int64  `json:"archive_cutoff" default:"0" kind:"duration" doc:"archiveCutoff (RFC 6960 section 4.4.4): how long responses cover expired certificates. With 0, responses do not state it. Keep records for at least this time: see safety_buffer of config/auto-tidy."`
}

// DefaultOptions returns the options of a mount that never wrote config/ocsp.
func DefaultOptions() Options {
	return Options{NeverIssued: string(SayUnknown), ResponderValidity: 14 * 24 * 3600, Nonce: true, SHA1: true}
}

// The bounds of responder_validity and archive_cutoff in seconds. Nobody can revoke a responder (its certificate
// says ocsp-nocheck), so its life bounds what a stolen key can do.
const (
	minValidity = 3600
	maxValidity = 90 * 24 * 3600
	maxCutoff   = 100 * 365 * 24 * 3600
)

// choices are validated Options; immutable.
type choices struct {
	options  Options
	validity time.Duration
	cutoff   time.Duration
}

func newChoices(o Options) (*choices, error) {
	c := &choices{options: o}
	switch NeverIssued(o.NeverIssued) {
	case SayUnknown, SayRevoked, SayUnauthorized:
	default:
		return nil, fault.Field("never_issued", "must be unknown, revoked or unauthorized")
	}
	if o.ResponderValidity < minValidity || o.ResponderValidity > maxValidity {
		return nil, fault.Field("responder_validity", "must be from 1h to 90 days, not %d seconds", o.ResponderValidity)
	}
	if o.ArchiveCutoff < 0 || o.ArchiveCutoff > maxCutoff {
		return nil, fault.Field("archive_cutoff", "must be at most 100 years, or 0, not %d seconds", o.ArchiveCutoff)
	}
	c.validity, c.cutoff = time.Duration(o.ResponderValidity)*time.Second, time.Duration(o.ArchiveCutoff)*time.Second
	return c, nil
}

// optionsVersion is the version that a stored Options record carries.
const optionsVersion = 1

// optionsTable returns the table whose one record, named "", is config/ocsp.
func optionsTable(store kv.Store) kv.Table[Options] {
	return kv.NewTable[Options](store, layout.ConfigOCSP, optionsVersion)
}

// Options returns config/ocsp, defaults included: from memory, else with one Get.
func (r *Responder) Options(ctx context.Context) (Options, error) {
	c, err := r.chosen(ctx)
	if err != nil {
		return Options{}, err
	}
	return c.options, nil
}

// AmendOptions changes config/ocsp under one lock, so that of two changes at a time
// neither is lost (race-1), and returns what it says then.
func (r *Responder) AmendOptions(ctx context.Context, change func(*Options) error) (Options, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	o, err := r.Options(ctx)
	if err != nil {
		return Options{}, err
	}
	if err := change(&o); err != nil {
		return Options{}, err
	}
	return o, r.putOptions(ctx, o)
}

// PutOptions validates and stores config/ocsp. It takes effect with the next
// Configure; a new responder_validity with the next responder certificate.
func (r *Responder) PutOptions(ctx context.Context, o Options) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	return r.putOptions(ctx, o)
}

// putOptions is PutOptions for a caller that holds writing.
func (r *Responder) putOptions(ctx context.Context, o Options) error {
	next, err := newChoices(o)
	if err != nil {
		return err
	}
	if err := optionsTable(r.config.Store).Put(ctx, "", &o); err != nil {
		r.choices.Store(nil) // the write may have happened: read it again
		return err
	}
	r.choices.Store(next)
	return nil
}

// Settings returns what config/ocsp says, with the part of config/crl that is given.
func (r *Responder) Settings(ctx context.Context, with Settings) (Settings, error) {
	c, err := r.chosen(ctx)
	if err != nil {
		return Settings{}, err
	}
	with.NeverIssued = NeverIssued(c.options.NeverIssued)
	with.NoNonce, with.NoSHA1 = !c.options.Nonce, !c.options.SHA1
	with.ArchiveCutoff = c.cutoff
	return with, nil
}

// Validity returns how long certificates of delegated responders are to be valid.
func (r *Responder) Validity(ctx context.Context) (time.Duration, error) {
	c, err := r.chosen(ctx)
	if err != nil {
		return 0, err
	}
	return c.validity, nil
}

// chosen returns the validated options: from memory, else from storage.
func (r *Responder) chosen(ctx context.Context) (*choices, error) {
	if c := r.choices.Load(); c != nil {
		return c, nil
	}
	stored, err := optionsTable(r.config.Store).Get(ctx, "")
	if err != nil {
		return nil, err
	}
	o := DefaultOptions()
	if stored != nil {
		o = *stored
	}
	c, err := newChoices(o)
	if err != nil {
		return nil, err
	}
	// Only fill an empty place: a PutOptions in the meantime is newer.
	r.choices.CompareAndSwap(nil, c)
	return c, nil
}
