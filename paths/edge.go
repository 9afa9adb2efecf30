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
The API for pki-edge. The manifest lists issuers, CRLs and publishers. The status feed
reports the status of each certificate. CRLs are read in chunks. An edge has its own OCSP
key certified. All requests but the last are reads from memory. An edge reads the
manifest every second. See docs/design/status-feed.md for the protocol, and
docs/how-to/edge-policy.md for the policy of an edge.
`

const edgeConfigHelp = `
Settings for every pki-edge that follows this mount. A write changes the fields that it
contains and keeps the others. The response contains all fields.
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
	Number string `json:"number" in:"path" max:"19" doc:"Number of the edition, from the manifest."`
	Chunk  string `json:"chunk" in:"path" max:"6" doc:"Which piece, from 0."`
}

type signerInput struct {
	Issuer string `json:"issuer_ref" in:"path" kind:"ref" doc:"Id or name of the issuer."`
	CSR    string `json:"csr" required:"true" max:"65536" doc:"Request in PEM whose key is the edge's OCSP key. Its subject and extensions are not looked at."`
}

func (m *mount) edgePaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("edge/manifest", "Read the manifest of an edge.", edgeHelp,
			schema.Read("Read the manifest of an edge.", m.readManifest)),
		schema.Path("edge/status/"+schema.Segment("issuer_ref"), "Read the status changes since a cursor.", edgeHelp,
			schema.Read("Read the status changes since a cursor; 503 while the ledger loads.", m.readStatusFeed)),
		schema.Path("edge/crl/"+schema.Segment("issuer_ref")+"/"+schema.Segment("kind")+"/"+schema.Segment("number")+"/"+schema.Segment("chunk"),
			"Read a piece of a CRL.", edgeHelp,
			schema.Read("Read a chunk of a CRL; 404 if there is a newer CRL.", m.readCRLChunk)),
		schema.Path("edge/ocsp-signer/"+schema.Segment("issuer_ref"), "Have an edge's OCSP key certified.", edgeHelp,
			schema.Write("Certify an edge's own key as a delegated OCSP responder.", m.certifyEdgeSigner)),
		schema.Path("config/edge", "Configure edges.", edgeConfigHelp,
			schema.Read("Read the settings of edges.", m.readEdge),
			schema.Write("Change the settings of edges.", m.writeEdge),
			schema.Patch("Change the settings of edges.", m.writeEdge)),
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
	i, err := m.engine.Issuers.Published(ctx, in.Issuer)
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
