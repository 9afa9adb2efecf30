package paths

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const crlHelp = `
A CRL is signed once and then served as it is. crl is the CRL of the default issuer,
and issuer/:ref/crl that of another issuer. The response is empty while there is no CRL.
Raw responses have the headers ETag and Last-Modified if the mount is tuned to let them
through. Then a request with If-None-Match or If-Modified-Since can receive 304.
`

const deltaHelp = `
A delta CRL lists the changes since an earlier complete CRL (RFC 5280 section 5.2.4).
It is published if enable_delta of config/crl is true.
`

const shardHelp = `
A shard is the CRL of the certificates whose serial number modulo the number of shards
is its index. Shards are published if a URL in crl_distribution_points contains
{{crl_shard}}. Give a shard by its index, or as COUNT-INDEX, which can also name a shard
of an earlier number of shards.
`

const importHelp = `
Import the CRL of a CA whose key is not in the mount, such as an offline root. The CRL
must be complete, signed by the issuer and not expired. Its number must be higher than
that of the published CRL.
`

type crlAnswer struct {
	CRL string `json:"crl" doc:"The CRL in PEM."`
}

type rotateAnswer struct {
	Success bool `json:"success" doc:"Always true: a failure is an error."`
}

type shardRef struct {
	issuerRef
	Shard string `json:"shard" in:"path" max:"7" doc:"Index of the shard, or COUNT-INDEX."`
}

type crlImport struct {
	issuerRef
	CRL string `json:"crl" required:"true" kind:"pem" max:"1048576" doc:"The CRL in PEM."`
}

type importedAnswer struct {
	Number     string `json:"crl_number" doc:"Number of the CRL that is published now, decimal."`
	ThisUpdate string `json:"this_update" doc:"When it was issued, RFC 3339."`
	NextUpdate string `json:"next_update" doc:"Expiry, RFC 3339."`
	RenewBy    string `json:"renew_by" doc:"When half of its life is over: from then on it is warned of."`
	Entries    int    `json:"entries" doc:"Number of revoked certificates on it."`
}

func (m *mount) crlPaths() []*framework.Path {
	named := "issuer/" + schema.Segment("issuer_ref") + "/crl"
	shard := named + "/shard/" + schema.Segment("shard")
	return []*framework.Path{
		schema.Path("crl", "Fetch the default issuer's CRL in DER.", crlHelp,
			schema.Read("Fetch the CRL in DER.", m.fetchDefault(crl.Complete, asDER))),
		schema.Path("crl/pem", "Fetch the default issuer's CRL in PEM.", crlHelp,
			schema.Read("Fetch the CRL in PEM.", m.fetchDefault(crl.Complete, asPEM))),
		schema.Path("crl/delta", "Fetch the default issuer's delta CRL in DER.", deltaHelp,
			schema.Read("Fetch the delta CRL in DER.", m.fetchDefault(crl.Delta, asDER))),
		schema.Path("crl/delta/pem", "Fetch the default issuer's delta CRL in PEM.", deltaHelp,
			schema.Read("Fetch the delta CRL in PEM.", m.fetchDefault(crl.Delta, asPEM))),
		schema.Path("crl/rotate", "Rebuild all CRLs.", crlHelp,
			schema.Read("Rebuild all CRLs. This GET writes, for clients of the built-in engine.", m.rotateCRL),
			schema.Write("Rebuild all CRLs.", m.rotateCRL)),
		schema.Path("crl/rotate-delta", "Rebuild all delta CRLs.", deltaHelp,
			schema.Read("Rebuild all delta CRLs. This GET writes, for clients of the built-in engine.", m.rotateDelta),
			schema.Write("Rebuild all delta CRLs.", m.rotateDelta)),
		schema.Path(named, "Read an issuer's CRL.", crlHelp,
			schema.Read("Read the CRL in PEM.", m.readOf(crl.Complete))),
		schema.Path(named+"/der", "Fetch an issuer's CRL in DER.", crlHelp,
			schema.Read("Fetch the CRL in DER.", m.fetchOf(crl.Complete, asDER))),
		schema.Path(named+"/pem", "Fetch an issuer's CRL in PEM.", crlHelp,
			schema.Read("Fetch the CRL in PEM.", m.fetchOf(crl.Complete, asPEM))),
		schema.Path(named+"/delta", "Read an issuer's delta CRL.", deltaHelp,
			schema.Read("Read the delta CRL in PEM.", m.readOf(crl.Delta))),
		schema.Path(named+"/delta/der", "Fetch an issuer's delta CRL in DER.", deltaHelp,
			schema.Read("Fetch the delta CRL in DER.", m.fetchOf(crl.Delta, asDER))),
		schema.Path(named+"/delta/pem", "Fetch an issuer's delta CRL in PEM.", deltaHelp,
			schema.Read("Fetch the delta CRL in PEM.", m.fetchOf(crl.Delta, asPEM))),
		schema.Path(shard, "Read one shard of an issuer's CRL.", shardHelp,
			schema.Read("Read the shard in PEM.", m.readShard)),
		schema.Path(shard+"/der", "Fetch one shard of an issuer's CRL in DER.", shardHelp,
			schema.Read("Fetch the shard in DER.", m.fetchShard(asDER))),
		schema.Path(shard+"/pem", "Fetch one shard of an issuer's CRL in PEM.", shardHelp,
			schema.Read("Fetch the shard in PEM.", m.fetchShard(asPEM))),
		schema.Path(named+"/import", "Import the CRL of a CA whose key is not in the mount.", importHelp,
			schema.Write("Import a CRL.", m.importCRL)),
	}
}

// warnOfLists says where settings have no effect because no URL points to their lists.
func (m *mount) warnOfLists(ctx context.Context, call *schema.Call, settings crl.Settings) {
	if settings.Disable {
		call.Warn("disable is true: no CRL is made, and revocations reach nobody by CRL until it is false again. Certificates still name their CRL.")
	}
	sharded, deltas := settings.Shards == 1, !settings.EnableDelta
	issuers, err := m.engine.Issuers.List(ctx)
	if err != nil {
		return
	}
	for _, i := range issuers {
		urls, err := m.engine.Issuers.URLsFor(ctx, i)
		if err != nil {
			continue // of a template that cannot be filled in: issuing says so
		}
		deltas = deltas || len(urls.DeltaCRLs) > 0
		sharded = sharded || slices.ContainsFunc(urls.CRLDistributionPoints, func(url string) bool { return strings.Contains(url, issuer.CRLShard) })
	}
	if !sharded {
		call.Warn("shards has no effect: no URL in crl_distribution_points contains %s. Set it in config/urls with enable_templating=true.", issuer.CRLShard)
	}
	if !deltas {
		call.Warn("Certificates do not name the delta CRL: set delta_crl_distribution_points in config/urls.")
	}
}

// list is a CRL with its head.
type list struct {
	der  []byte
	head crl.Head
}

// listOf returns an issuer's CRL, the zero list when it has none.
func (m *mount) listOf(ctx context.Context, id string, kind crl.Kind) (list, error) {
	der, head, err := m.engine.CRL.List(ctx, id, kind)
	return list{der: der, head: head}, err
}

// issuerCRL returns an issuer's CRL. One without a complete list, such as a root whose
// key is elsewhere, or without a delta is answered with status 500 and the built-in
// engine's words: its clients take an empty list for a broken one, and its health check
// gives up at any other status.
func (m *mount) issuerCRL(ctx context.Context, ref string, kind crl.Kind) (list, error) {
	i, err := m.published(ctx, ref)
	if err != nil {
		return list{}, err
	}
	found, err := m.listOf(ctx, i.ID(), kind)
	switch {
	case err != nil || found.der != nil:
		return found, err
	case kind == crl.Complete:
		return list{}, fault.New(fault.Internal, "unable to find CRL for issuer: %s", i.ID())
	case kind == crl.Delta:
		return list{}, fault.New(fault.Internal, "unable to find CRL for issuer: %s: there is no delta CRL; config/crl has enable_delta off, or none is made yet", i.ID())
	}
	return list{}, fault.New(fault.NotFound, "issuer %s has no CRL shard %s: no certificate names it", i.ID(), kind)
}

// defaultCRL returns the default issuer's CRL, the zero list when there is none.
func (m *mount) defaultCRL(ctx context.Context, kind crl.Kind) (list, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return list{}, err
	}
	return m.listOf(ctx, i.ID(), kind)
}

func (m *mount) fetchDefault(kind crl.Kind, form crlForm) schema.Handler[schema.None, schema.Raw] {
	return func(ctx context.Context, call *schema.Call, _ schema.None) (schema.Raw, error) {
		found, err := m.defaultCRL(ctx, kind)
		return m.rawCRL(call, found, form), err
	}
}

func (m *mount) fetchOf(kind crl.Kind, form crlForm) schema.Handler[issuerRef, schema.Raw] {
	return func(ctx context.Context, call *schema.Call, in issuerRef) (schema.Raw, error) {
		found, err := m.issuerCRL(ctx, in.Ref, kind)
		return m.rawCRL(call, found, form), err
	}
}

func (m *mount) readOf(kind crl.Kind) schema.Handler[issuerRef, crlAnswer] {
	return func(ctx context.Context, _ *schema.Call, in issuerRef) (crlAnswer, error) {
		found, err := m.issuerCRL(ctx, in.Ref, kind)
		return crlAnswer{CRL: crlPEM(found.der)}, err
	}
}

func (m *mount) shardCRL(ctx context.Context, in shardRef) (list, error) {
	kind, err := m.engine.CRL.Shard(ctx, in.Shard)
	if err != nil {
		return list{}, err
	}
	return m.issuerCRL(ctx, in.Ref, kind)
}

func (m *mount) fetchShard(form crlForm) schema.Handler[shardRef, schema.Raw] {
	return func(ctx context.Context, call *schema.Call, in shardRef) (schema.Raw, error) {
		found, err := m.shardCRL(ctx, in)
		return m.rawCRL(call, found, form), err
	}
}

func (m *mount) readShard(ctx context.Context, _ *schema.Call, in shardRef) (crlAnswer, error) {
	found, err := m.shardCRL(ctx, in)
	return crlAnswer{CRL: crlPEM(found.der)}, err
}

// readCertList answers as the built-in engine does, which calls a CRL a certificate there.
func (m *mount) readCertList(kind crl.Kind) schema.Handler[schema.None, *pemAnswer] {
	return func(ctx context.Context, _ *schema.Call, _ schema.None) (*pemAnswer, error) {
		found, err := m.defaultCRL(ctx, kind)
		if found.der == nil {
			return nil, err
		}
		return &pemAnswer{Certificate: crlPEM(found.der)}, nil
	}
}

func (m *mount) rotateCRL(ctx context.Context, _ *schema.Call, _ schema.None) (rotateAnswer, error) {
	if err := m.engine.CRL.RebuildAll(ctx); err != nil {
		return rotateAnswer{}, fmt.Errorf("rebuilding CRLs: %w", err)
	}
	return rotateAnswer{Success: true}, nil
}

func (m *mount) rotateDelta(ctx context.Context, _ *schema.Call, _ schema.None) (rotateAnswer, error) {
	if err := m.engine.CRL.RebuildDeltas(ctx); err != nil {
		return rotateAnswer{}, fmt.Errorf("rebuilding delta CRLs: %w", err)
	}
	return rotateAnswer{Success: true}, nil
}

func (m *mount) importCRL(ctx context.Context, _ *schema.Call, in crlImport) (importedAnswer, error) {
	head, err := m.engine.ImportCRL(ctx, in.Ref, []byte(in.CRL))
	if err != nil {
		return importedAnswer{}, err
	}
	return importedAnswer{
		Number: head.CRLNumber().String(), ThisUpdate: rfc3339(head.ThisUpdate), NextUpdate: rfc3339(head.NextUpdate),
		RenewBy: rfc3339(head.ThisUpdate.Add(head.NextUpdate.Sub(head.ThisUpdate) / 2)), Entries: head.Entries,
	}, nil
}

// nothing is the answer for an object that is not there yet. Clients of the built-in
// engine take an error for a broken server.
func nothing(contentType string) schema.Raw {
	return schema.Raw{Status: http.StatusNoContent, ContentType: contentType}
}

// until is the Cache-Control of what is true until a time. A list is replaced when
// something is revoked, so caches ask again after a minute at most.
func (m *mount) until(end time.Time) string {
	age := min(end.Sub(m.now()), time.Minute)
	if age <= 0 {
		return "no-store"
	}
	return fmt.Sprintf("public, max-age=%d, no-transform", age/time.Second)
}
