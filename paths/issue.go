package paths

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const issueHelp = `
The role decides which names are granted. Its profile defines the certificate. Lints
check the exact bytes before they are signed. The record is stored before the response is
sent. A CSR's extensions and usages that the profile does not permit are refused or
dropped, and never copied.
`

// certificateAsk is what a request says about the certificate that it wants.
type certificateAsk struct {
	CommonName        string            `json:"common_name" max:"1024" doc:"Common name of the subject."`
	AltNames          string            `json:"alt_names" kind:"csv" max:"300000" doc:"DNS names and e-mail addresses, separated by commas."`
	IPSANs            []string          `json:"ip_sans" doc:"IP addresses."`
	URISANs           []string          `json:"uri_sans" doc:"URIs."`
	OtherSANs         []string          `json:"other_sans" doc:"Other names, each as OID;UTF8:value."`
	UserIDs           []string          `json:"user_ids" doc:"User ids in the subject."`
	SerialNumber      string            `json:"serial_number" max:"1024" doc:"serialNumber attribute of the subject; not that of the certificate."`
	TTL               int64             `json:"ttl" kind:"duration" doc:"Lifetime. With 0, it is that of role and profile."`
	NotAfter          string            `json:"not_after" max:"64" doc:"Expiry, RFC 3339; cannot be combined with ttl."`
	ExcludeCNFromSANs bool              `json:"exclude_cn_from_sans" doc:"Whether the common name is omitted from the subject alternative names. It is checked in any case."`
	KeyType           string            `json:"key_type" enum:"rsa|ec|ed25519" doc:"Type of the key that the engine generates. If empty, it is that of role and profile."`
	KeyBits           int               `json:"key_bits" min:"0" max:"8192" doc:"Size of that key in bits. With 0, it is that of role and profile."`
	Owner             string            `json:"owner" max:"255" doc:"Owner of the certificate. If empty, it is the role's owner."`
	Contacts          []string          `json:"contacts" items:"16" max:"255" doc:"Contacts for the certificate."`
	Metadata          map[string]string `json:"metadata" items:"64" max:"1024" doc:"Anything worth remembering (key=value)."`
	Replaces          string            `json:"replaces" max:"128" doc:"Serial number of the certificate that this one succeeds."`
}

// answerForm is how a request wants its answer.
type answerForm struct {
	Format      string `json:"format" enum:"pem|der|pem_bundle" default:"pem" doc:"Form of certificates and key: pem, der (base64), or pem_bundle with key and chain in certificate."`
	KeyFormat   string `json:"private_key_format" enum:"der|pem|pkcs8" default:"der" doc:"Format of the private key: der or pem for PKCS#1 or SEC 1, or pkcs8."`
	RemoveRoots bool   `json:"remove_roots_from_chain" doc:"Whether self-signed certificates are left out of ca_chain."`
}

// roleRef names the role.
type roleRef struct {
	Role string `json:"role" in:"path" kind:"name" doc:"Name of the role."`
}

// namedIssuer is the issuer in a body that has no part in the choice: clients repeat the
// one that signs anyway.
type namedIssuer struct {
	Named string `json:"issuer_ref" kind:"ref" doc:"Id or name of the issuer that signs, or default. It chooses nothing: a request that names another issuer is refused, use issuer/:issuer_ref/sign/:role or issuer/:issuer_ref/issue/:role."`
}

// chosenRef names the role and the issuer that signs instead of the role's own. The
// issuer is part of the path alone: in the body it would dodge an ACL.
type chosenRef struct {
	roleRef
	Issuer string `json:"issuer_ref" in:"path" kind:"ref" doc:"Id or name of the issuer, or default."`
}

type issueBody struct {
	certificateAsk
	answerForm
}

type signBody struct {
	certificateAsk
	answerForm
	CSR string `json:"csr" kind:"pem" max:"65536" required:"true" doc:"Certificate request in PEM."`
}

type issueInput struct {
	roleRef
	namedIssuer
	issueBody
}

type issueAtIssuer struct {
	chosenRef
	issueBody
}

type signInput struct {
	roleRef
	namedIssuer
	signBody
}

type signAtIssuer struct {
	chosenRef
	signBody
}

// certificateAnswer is one issued certificate. Nothing else in it may be a PEM text:
// clients look for PEM in every string.
type certificateAnswer struct {
	Certificate string   `json:"certificate" doc:"The certificate in the requested form."`
	IssuingCA   string   `json:"issuing_ca" doc:"Certificate of the issuer, in the requested form."`
	Chain       []string `json:"ca_chain,omitempty" doc:"Certificates from the issuer up to the root, as far as they are known; absent when empty."`
	Serial      string   `json:"serial_number" doc:"Serial number, lower-case hexadecimal with colons."`
	AuthorityID string   `json:"authority_key_id" doc:"Key identifier of the issuer, hexadecimal with colons."`
	Expiration  int64    `json:"expiration" doc:"Expiry, seconds since 1970."`
	PrivateKey  string   `json:"private_key,omitempty" doc:"The private key, if the engine generated it. It is returned once and not stored."`
	PrivateType string   `json:"private_key_type,omitempty" doc:"rsa, ec or ed25519."`
	Profile     string   `json:"profile,omitempty" doc:"Profile version under which the certificate was issued."`
	IssuerID    string   `json:"issuer_id" doc:"Id of the issuer."`
}

func (m *mount) issuePaths() []*framework.Path {
	named := schema.Segment("role")
	issuers := "issuer/" + schema.Segment("issuer_ref")
	return []*framework.Path{
		schema.Path("sign/"+named, "Sign a certificate request.", issueHelp,
			schema.Write("Sign a certificate request.", m.sign)),
		schema.Path("issue/"+named, "Issue a certificate with a new key.", issueHelp,
			schema.Write("Issue a certificate with a new key.", m.issue)),
		schema.Path(issuers+"/sign/"+named, "Sign a certificate request with a chosen issuer.", issueHelp,
			schema.Write("Sign a certificate request.", m.signAtIssuer)),
		schema.Path(issuers+"/issue/"+named, "Issue a certificate with a new key by a chosen issuer.", issueHelp,
			schema.Write("Issue a certificate with a new key.", m.issueAtIssuer)),
		schema.Path("sign/"+named+"/batch", "Sign many certificate requests at once.", issueHelp,
			schema.Write("Sign up to 256 certificate requests with one write to storage.", m.signBatch).Limit(batchBytes)),
	}
}

// target says what a request is made to.
type target struct {
	role   string
	issuer string // the path's, "" for the role's
	named  string // the body's, "" for none
}

func (m *mount) sign(ctx context.Context, call *schema.Call, in signInput) (certificateAnswer, error) {
	return m.signWith(ctx, call, target{role: in.Role, named: in.Named}, in.signBody)
}

func (m *mount) signAtIssuer(ctx context.Context, call *schema.Call, in signAtIssuer) (certificateAnswer, error) {
	return m.signWith(ctx, call, target{role: in.Role, issuer: in.Issuer}, in.signBody)
}

func (m *mount) signWith(ctx context.Context, call *schema.Call, at target, body signBody) (certificateAnswer, error) {
	request, err := m.request(at, body.certificateAsk, body.CSR)
	if err != nil {
		return certificateAnswer{}, err
	}
	who, err := m.identify(ctx, call, at.role)
	if err != nil {
		return certificateAnswer{}, err
	}
	result, err := m.engine.Issue.Sign(ctx, request, who)
	if err != nil {
		return certificateAnswer{}, err
	}
	return m.answerCertificate(call, result, body.answerForm)
}

func (m *mount) issue(ctx context.Context, call *schema.Call, in issueInput) (certificateAnswer, error) {
	return m.issueWith(ctx, call, target{role: in.Role, named: in.Named}, in.issueBody)
}

func (m *mount) issueAtIssuer(ctx context.Context, call *schema.Call, in issueAtIssuer) (certificateAnswer, error) {
	return m.issueWith(ctx, call, target{role: in.Role, issuer: in.Issuer}, in.issueBody)
}

func (m *mount) issueWith(ctx context.Context, call *schema.Call, at target, body issueBody) (certificateAnswer, error) {
	request, err := m.request(at, body.certificateAsk, "")
	if err != nil {
		return certificateAnswer{}, err
	}
	who, err := m.identify(ctx, call, at.role)
	if err != nil {
		return certificateAnswer{}, err
	}
	result, err := m.engine.Issue.Issue(ctx, request, who)
	if err != nil {
		return certificateAnswer{}, err
	}
	return m.answerCertificate(call, result, body.answerForm)
}

// request makes the engine's request of what the caller said. With a CSR, key_type
// and key_bits would do nothing and are refused.
func (m *mount) request(at target, ask certificateAsk, csr string) (issue.Request, error) {
	if csr != "" && (ask.KeyType != "" || ask.KeyBits != 0) {
		return issue.Request{}, fault.Field("key_type", "is for keys that the engine generates; a CSR brings its own")
	}
	notAfter, err := profile.ParseNotAfter(ask.NotAfter)
	if err != nil {
		return issue.Request{}, err
	}
	var replaces cert.Serial
	if ask.Replaces != "" {
		if replaces, err = cert.ParseSerial(ask.Replaces); err != nil {
			return issue.Request{}, fault.Field("replaces", "%w", err)
		}
	}
	request := issue.Request{
		Role:   at.role,
		Issuer: at.issuer,
		Named:  at.named,
		Names: role.Ask{
			CommonName:        ask.CommonName,
			AltNames:          commaList(ask.AltNames),
			IPSANs:            ask.IPSANs,
			URISANs:           ask.URISANs,
			OtherSANs:         ask.OtherSANs,
			UserIDs:           ask.UserIDs,
			SerialNumber:      ask.SerialNumber,
			ExcludeCNFromSANs: ask.ExcludeCNFromSANs,
		},
		KeyType:  ask.KeyType,
		KeyBits:  ask.KeyBits,
		TTL:      time.Duration(ask.TTL) * time.Second,
		NotAfter: notAfter,
		Note:     issue.Annotation{Owner: ask.Owner, Contacts: ask.Contacts, Metadata: ask.Metadata, Replaces: replaces},
		Mount:    m.leases(),
	}
	if csr != "" {
		request.CSR = []byte(csr)
	}
	return request, nil
}

// identify says who asks, as Vault vouches for it. Each question to Vault is a round
// trip, so groups are asked for only when the role looks at them, and templates when
// they are expanded.
func (m *mount) identify(ctx context.Context, call *schema.Call, roleName string) (role.Identity, error) {
	who := role.Identity{EntityID: call.Request.EntityID}
	if who.EntityID == "" {
		return who, nil
	}
	who.Expand = func(template string) (string, error) {
		return framework.PopulateIdentityTemplate(template, who.EntityID, m.System())
	}
	config, err := m.engine.Catalog.RoleConfig(ctx, roleName)
	if fault.Is(err, fault.NotFound) {
		return who, nil // the engine says so
	}
	if err != nil || len(config.AllowedGroups) == 0 {
		return who, err
	}
	groups, err := m.System().GroupsForEntity(who.EntityID)
	if err != nil {
		return who, fault.New(fault.Unavailable, "asking Vault for the groups of entity %s: %w", who.EntityID, err)
	}
	for _, group := range groups {
		who.Groups = append(who.Groups, group.ID, group.Name)
	}
	return who, nil
}

func commaList(text string) []string {
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}
