package paths

import (
	"cmp"
	"context"
	"crypto/x509"
	"maps"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const hierarchyHelp = `
To create a CA that another CA signs, generate a key and a CSR here. The issuer is
pending until set-signed or an import brings its certificate. A bundle is imported
completely or not at all. You can create a root here for tests. In production, create the
root in a ceremony, with its key in a separate token.
`

type rootInput struct {
	caKey
	caSubject
	caValidity
	caShape
	caForm
	Name string `json:"issuer_name" kind:"name" doc:"Name of the issuer."`
}

type rootAnswer struct {
	Certificate string `json:"certificate" doc:"The certificate in the requested form."`
	IssuingCA   string `json:"issuing_ca" doc:"The same certificate: a root is its own issuer."`
	Serial      string `json:"serial_number" doc:"Serial number."`
	Expiration  int64  `json:"expiration" doc:"Expiry, seconds since 1970."`
	IssuerID    string `json:"issuer_id" doc:"Id of the issuer."`
	IssuerName  string `json:"issuer_name" doc:"Name of the issuer."`
	KeyID       string `json:"key_id" doc:"Id of its key."`
	KeyName     string `json:"key_name" doc:"Name of its key."`
	KeyHash     string `json:"key_sha256" doc:"SHA-256 of its public key (SubjectPublicKeyInfo), hexadecimal with colons."`
}

// subordinate is what sign-intermediate takes besides the reference of the issuer.
type subordinate struct {
	caSubject
	caValidity
	caShape
	caForm
	CSR          string `json:"csr" kind:"pem" max:"65536" required:"true" doc:"Certificate request in PEM."`
	SubjectKeyID string `json:"skid" max:"128" doc:"Subject key identifier, hexadecimal with or without colons. Give it for a CA whose certificates already name this identifier. If empty, it is computed from the key."`
	KeyType      string `json:"key_type" enum:"rsa|ec|ed25519" doc:"Type that the key of the request must have; without it, any."`
	KeyBits      int    `json:"key_bits" min:"0" max:"8192" doc:"Size that the key of the request must have, in bits; 0 for any."`
	UseCSRValues bool   `json:"use_csr_values" doc:"Whether subject and names come from the CSR instead of the request. A CSR with an empty subject takes the subject of the request, such as common_name."`
	Profile      string `json:"profile" max:"160" doc:"Profile of kind subca for the certificate, as name or name@version. It cannot be combined with fields that the profile defines."`
}

type subordinateInput struct {
	Ref string `json:"issuer_ref" kind:"ref" default:"default" doc:"Id or name of the issuer that signs, or default."`
	subordinate
}

type subordinateAtIssuer struct {
	issuerRef
	subordinate
}

type setSignedInput struct {
	Certificate string `json:"certificate" kind:"pem" max:"1048576" required:"true" doc:"The signed certificate, and those above it, in PEM or PKCS#7 (.p7b); DER as base64."`
}

type importInput struct {
	Bundle string `json:"pem_bundle" kind:"pem" max:"1048576" required:"true" doc:"Certificates in PEM or PKCS#7 (.p7b), DER as base64; for bundles also private keys, in PEM."`
}

type importAnswer struct {
	ImportedIssuers []string          `json:"imported_issuers" doc:"Ids of issuers that are new or got their certificate."`
	ImportedKeys    []string          `json:"imported_keys" doc:"Ids of keys that are new."`
	ExistingIssuers []string          `json:"existing_issuers" doc:"Ids of issuers that existed already."`
	ExistingKeys    []string          `json:"existing_keys" doc:"Ids of keys that existed already."`
	Mapping         map[string]string `json:"mapping" doc:"Id of the key of each issuer in the bundle, empty for those without."`
}

func (m *mount) hierarchyPaths() []*framework.Path {
	const where = "/(?P<exported>internal|exported|existing|kms)"
	generate := schema.Write("Generate a key and a CSR. The issuer is pending until its certificate is imported.", m.requestCA)
	root := schema.Write("Create a self-signed CA.", m.makeRoot)
	setSigned := schema.Write("Import the certificate of a pending issuer.", m.setSigned).Limit(2 * cert.MaxBundle)
	certs := schema.Write("Import certificates without keys.", m.importCertificates).Limit(2 * cert.MaxBundle)
	bundle := schema.Write("Import certificates and private keys.", m.importBundle).Limit(2 * cert.MaxBundle)
	return []*framework.Path{
		schema.Path("issuers/generate/intermediate"+where, "Create a CSR for a new CA.", hierarchyHelp, generate),
		schema.Path("intermediate/generate"+where, "Create a CSR for a new CA.", hierarchyHelp, generate),
		schema.Path("intermediate/set-signed", "Import the certificate of a pending issuer.", hierarchyHelp, setSigned),
		schema.Path("issuers/import/cert", "Import CA certificates.", hierarchyHelp, certs),
		schema.Path("issuers/import/bundle", "Import CA certificates and private keys.", hierarchyHelp, bundle),
		schema.Path("config/ca", "Import CA certificates and private keys.", hierarchyHelp, bundle),
		schema.Path("issuers/generate/root"+where, "Create a root.", hierarchyHelp, root),
		schema.Path("root/generate"+where, "Create a root.", hierarchyHelp, root),
		schema.Path("root/rotate"+where, "Create the next root.", hierarchyHelp,
			schema.Write("Create a self-signed CA named next. root/replace makes it the default.", m.makeNextRoot)),
		schema.Path("intermediate/cross-sign", "Create a CSR for an existing key, for another CA to sign.", hierarchyHelp,
			schema.Write("Create a CSR for an existing key.", m.requestCross)),
		schema.Path("root/sign-intermediate", "Sign a subordinate CA.", hierarchyHelp,
			schema.Write("Sign a subordinate CA.", m.signIntermediate)),
		schema.Path("issuer/"+schema.Segment("issuer_ref")+"/sign-intermediate", "Sign a subordinate CA with a chosen issuer.", hierarchyHelp,
			schema.Write("Sign a subordinate CA.", m.signIntermediateAtIssuer)),
	}
}

// makeNextRoot is makeRoot with the name that root/replace looks for.
func (m *mount) makeNextRoot(ctx context.Context, call *schema.Call, in rootInput) (rootAnswer, error) {
	in.Name = cmp.Or(in.Name, "next")
	return m.makeRoot(ctx, call, in)
}

func (m *mount) makeRoot(ctx context.Context, call *schema.Call, in rootInput) (rootAnswer, error) {
	request, err := m.caRequest(in.caSubject, in.caValidity, in.config(profile.KindRoot))
	if err != nil {
		return rootAnswer{}, err
	}
	request.Name = in.Name
	if request.Key, err = in.choice(); err != nil {
		return rootAnswer{}, err
	}
	root, warnings, err := m.engine.Issue.Root(ctx, request, role.Identity{EntityID: call.Request.EntityID})
	if err != nil {
		return rootAnswer{}, err
	}
	warn(call, warnings)
	if in.Where == "internal" {
		call.Warn("The root's key is in Vault's storage. In production, keep the root's key in an offline token.")
	}
	m.publish(ctx, call, []string{root.ID()})
	form := answerForm{Format: in.Format}
	certificate := form.render(root.Certificate().Raw)
	key, err := m.engine.Ring.Get(ctx, root.KeyID())
	if err != nil {
		return rootAnswer{}, err
	}
	return rootAnswer{
		Certificate: certificate, IssuingCA: certificate, Serial: root.Serial().String(),
		Expiration: root.Certificate().NotAfter.Unix(), IssuerID: root.ID(), IssuerName: root.Name(), KeyID: root.KeyID(), KeyName: key.Name,
		KeyHash: key.Fingerprint().String(),
	}, nil
}

// publish makes new issuers known to relying parties. That it failed is a warning:
// the issuer is there, and the next tick tries again.
func (m *mount) publish(ctx context.Context, call *schema.Call, ids []string) {
	if len(ids) == 0 {
		return
	}
	if err := m.engine.Published(ctx, ids); err != nil {
		m.Logger().Warn("publishing for new issuers failed, will be tried again", "issuers", ids, "error", err)
		call.Warn("The first CRL or OCSP responder could not be created yet. The engine retries every minute: %s", schema.Outward(err))
	}
	if err := m.warnOfSharedURLs(ctx, call); err != nil {
		m.Logger().Warn("looking for URLs that several CAs share failed", "error", err)
	}
}

func (m *mount) signIntermediate(ctx context.Context, call *schema.Call, in subordinateInput) (certificateAnswer, error) {
	return m.signSubordinate(ctx, call, in.Ref, in.subordinate)
}

func (m *mount) signIntermediateAtIssuer(ctx context.Context, call *schema.Call, in subordinateAtIssuer) (certificateAnswer, error) {
	return m.signSubordinate(ctx, call, in.Ref, in.subordinate)
}

func (m *mount) signSubordinate(ctx context.Context, call *schema.Call, ref string, in subordinate) (certificateAnswer, error) {
	config, remembered := in.config(profile.KindSubCA), ""
	if in.Profile != "" {
		if err := shapeless(call.Given); err != nil {
			return certificateAnswer{}, err
		}
		base, err := m.subordinateProfile(ctx, in.Profile)
		if err != nil {
			return certificateAnswer{}, err
		}
		config, remembered = base.Config(), base.Name()
	}
	request, err := m.caRequest(in.caSubject, in.caValidity, config)
	if err != nil {
		return certificateAnswer{}, err
	}
	request.Issuer, request.CSR, request.UseCSR = ref, []byte(in.CSR), in.UseCSRValues
	if err := in.checkKey(); err != nil {
		return certificateAnswer{}, err
	}
	if request.SubjectKeyID, err = parseKeyID(in.SubjectKeyID); err != nil {
		return certificateAnswer{}, err
	}
	request.ProfileName = remembered
	result, err := m.engine.Issue.SignIntermediate(ctx, request, role.Identity{EntityID: call.Request.EntityID})
	if err != nil {
		return certificateAnswer{}, err
	}
	return m.answerSubordinate(call, result, in.caForm)
}

// checkKey holds the key of the request to key_type and key_bits.
func (s *subordinate) checkKey() error {
	if s.KeyType == "" && s.KeyBits == 0 {
		return nil
	}
	csr, err := cert.ParseCACSR([]byte(s.CSR))
	if err != nil {
		return err
	}
	spec, err := cert.KeySpecOf(csr.PublicKey)
	switch {
	case err != nil:
		return err
	case s.KeyType != "" && s.KeyType != string(spec.Type):
		return fault.Field("key_type", "the key of the request is %s", spec)
	case s.KeyBits != 0 && s.KeyBits != spec.Bits:
		return fault.Field("key_bits", "the key of the request is %s", spec)
	}
	return nil
}

// answerSubordinate puts the new certificate first into its chain, as clients of
// sign-intermediate expect it.
func (m *mount) answerSubordinate(call *schema.Call, result *issue.Result, form caForm) (certificateAnswer, error) {
	answer, err := m.answerCertificate(call, result, answerForm{Format: form.Format})
	if err != nil {
		return certificateAnswer{}, err
	}
	own := answerForm{Format: form.Format}.render(result.Certificate.Raw)
	answer.Chain = append([]string{own}, answer.Chain...)
	return answer, nil
}

// subordinateProfile returns a profile for CAs below others.
func (m *mount) subordinateProfile(ctx context.Context, ref string) (*profile.Profile, error) {
	compiled, err := m.engine.Catalog.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if compiled.Kind() != profile.KindSubCA {
		return nil, fault.Field("profile", "must be of kind %s, not %s", profile.KindSubCA, compiled.Kind())
	}
	return compiled, nil
}

// shapeless refuses fields that would change what a profile says.
func shapeless(given schema.Given) error {
	for name := range schema.Fields[caShape]() {
		if given.Has(name) {
			return fault.Field(name, "is decided by the profile")
		}
	}
	return nil
}

func (m *mount) setSigned(ctx context.Context, call *schema.Call, in setSignedInput) (importAnswer, error) {
	return m.importCA(ctx, call, issuer.ImportRequest{PEM: []byte(in.Certificate), NeedPending: true})
}

func (m *mount) importCertificates(ctx context.Context, call *schema.Call, in importInput) (importAnswer, error) {
	return m.importCA(ctx, call, issuer.ImportRequest{PEM: []byte(in.Bundle)})
}

func (m *mount) importBundle(ctx context.Context, call *schema.Call, in importInput) (importAnswer, error) {
	return m.importCA(ctx, call, issuer.ImportRequest{PEM: []byte(in.Bundle), AllowKeys: true})
}

func (m *mount) importCA(ctx context.Context, call *schema.Call, request issuer.ImportRequest) (importAnswer, error) {
	request.Conforms = func(requested string, certificate *x509.Certificate) error {
		compiled, err := m.engine.Catalog.Resolve(ctx, requested)
		if err != nil {
			return err
		}
		return compiled.Conforms(certificate)
	}
	result, err := m.engine.Issuers.Import(ctx, request)
	if err != nil {
		return importAnswer{}, err
	}
	warn(call, result.Warnings)
	published := slices.Collect(maps.Keys(result.Mapping))
	if keys := slices.Concat(result.ImportedKeys, result.ExistingKeys); len(keys) > 0 { // they may be those of earlier issuers
		for _, i := range m.engine.Issuers.Loaded() {
			if slices.Contains(keys, i.KeyID()) && !slices.Contains(published, i.ID()) {
				published = append(published, i.ID())
			}
		}
	}
	m.publish(ctx, call, published)
	return importAnswer{
		ImportedIssuers: result.ImportedIssuers, ImportedKeys: result.ImportedKeys,
		ExistingIssuers: result.ExistingIssuers, ExistingKeys: result.ExistingKeys, Mapping: result.Mapping,
	}, nil
}
