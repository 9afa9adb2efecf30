package paths

import (
	"context"
	"encoding/base64"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/publisher"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const edgeHelp = `
What pki-edge follows: the manifest says what there is, the status feed says what
became of each certificate, lists come in pieces, and an edge has its own OCSP key
certified. All but the last are reads from memory. An edge asks for the manifest every
second. docs/design/status-feed.md has the rules; the policy of an edge is in
docs/how-to/edge-policy.md.
`

const edgeConfigHelp = `
What every pki-edge that follows this mount shows and does alike. A write changes the
fields that it gives and keeps the others. The answer is the whole record.
`

// statusInput names the place in the feed where an edge is.
type statusInput struct {
	Issuer string `json:"issuer_ref" in:"path" max:"128" doc:"Id or name of the issuer, or - for all."`
	Since  int64  `json:"since" min:"0" default:"0" doc:"Sequence of the last response; 0 for the first request."`
	Epoch  string `json:"epoch" max:"64" doc:"Epoch of the last response; empty for the first request."`
	Limit  int    `json:"limit" min:"0" max:"8192" default:"0" doc:"Maximum number of changes to return; 0 means 8192, the highest value."`
}

type chunkInput struct {
	Issuer string `json:"issuer_ref" in:"path" kind:"ref" doc:"Id or name of the issuer."`
	Kind   string `json:"kind" in:"path" max:"16" doc:"complete, delta, or a shard such as 8-3."`
	// Texts, because the framework itself converts numbers in paths, in words of its own.
	Number string `json:"number" in:"path" max:"19" doc:"CRL number."`
	Chunk  string `json:"chunk" in:"path" max:"6" doc:"Which piece, from 0."`
}

type signerInput struct {
	Issuer string `json:"issuer_ref" in:"path" kind:"ref" doc:"Id or name of the issuer."`
	CSR    string `json:"csr" required:"true" max:"65536" doc:"Request in PEM whose key is the edge's OCSP key. Its subject and extensions are not looked at."`
}

func (m *mount) edgePaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("edge/manifest", "Read what an edge shows and follows.", edgeHelp,
			schema.Read("Read what an edge shows and follows.", m.readManifest)),
		schema.Path("edge/status/"+schema.Segment("issuer_ref"), "Read what changed since a cursor.", edgeHelp,
			schema.Read("Read what became of certificates since a cursor, 503 while the ledger loads.", m.readStatusFeed)),
		schema.Path("edge/crl/"+schema.Segment("issuer_ref")+"/"+schema.Segment("kind")+"/"+schema.Segment("number")+"/"+schema.Segment("chunk"),
			"Read a piece of a CRL.", edgeHelp,
			schema.Read("Read a piece of a CRL, 404 when there is a newer one.", m.readCRLChunk)),
		schema.Path("edge/ocsp-signer/"+schema.Segment("issuer_ref"), "Have an edge's OCSP key certified.", edgeHelp,
			schema.Write("Certify an edge's own key as a delegated OCSP responder.", m.certifyEdgeSigner)),
		schema.Path("config/edge", "Set what edges show and do.", edgeConfigHelp,
			schema.Read("Read what edges show and do.", m.readEdge),
			schema.Write("Change what edges show and do.", m.writeEdge),
			schema.Patch("Change what edges show and do.", m.writeEdge)),
	}
}

func (m *mount) readManifest(ctx context.Context, _ *schema.Call, _ schema.None) (*feed.Manifest, error) {
	return m.engine.Manifest(ctx)
}

func (m *mount) readStatusFeed(ctx context.Context, _ *schema.Call, in statusInput) (*feed.Status, error) {
	if in.Issuer != backend.AllIssuers {
		if err := schema.CheckName("issuer_ref", in.Issuer); err != nil {
			return nil, err
		}
	}
	return m.engine.Status(ctx, in.Issuer, ledger.Cursor{Epoch: in.Epoch, Sequence: uint64(in.Since)}, in.Limit)
}

func (m *mount) readCRLChunk(ctx context.Context, _ *schema.Call, in chunkInput) (feed.Chunk, error) {
	kind, err := crl.ParseKind(in.Kind)
	if err != nil {
		return feed.Chunk{}, err
	}
	number, err := strconv.ParseInt(in.Number, 10, 64)
	if err != nil {
		return feed.Chunk{}, fault.Field("number", "must be a CRL number")
	}
	chunk, err := strconv.Atoi(in.Chunk)
	if err != nil {
		return feed.Chunk{}, fault.Field("chunk", "must be the number of a piece")
	}
	i, err := m.engine.Issuers.Get(ctx, in.Issuer)
	if err != nil {
		return feed.Chunk{}, err
	}
	data, last, err := m.engine.CRL.Chunk(ctx, i.ID(), kind, number, chunk)
	if err != nil {
		return feed.Chunk{}, err
	}
	return feed.Chunk{Data: base64.StdEncoding.EncodeToString(data), Last: last}, nil
}

func (m *mount) certifyEdgeSigner(ctx context.Context, call *schema.Call, in signerInput) (feed.OCSPSigner, error) {
	signed, i, err := m.engine.EdgeSigner(ctx, in.Issuer, []byte(in.CSR), role.Identity{EntityID: call.Request.EntityID})
	if err != nil {
		return feed.OCSPSigner{}, err
	}
	return feed.OCSPSigner{
		Certificate: cert.CertificatePEM(signed.Raw), IssuerID: i.ID(),
		SerialNumber: cert.SerialOf(signed.SerialNumber).String(), NotAfter: rfc3339(signed.NotAfter),
	}, nil
}

func (m *mount) readEdge(ctx context.Context, _ *schema.Call, _ schema.None) (publisher.Edge, error) {
	return m.engine.Publishers.Edge(ctx)
}

func (m *mount) writeEdge(ctx context.Context, call *schema.Call, in publisher.Edge) (publisher.Edge, error) {
	return m.engine.Publishers.AmendEdge(ctx, schema.Change(in, call.Given))
}
