// Package issuer promises that a CA of this mount is always in exactly one state of
// its life: a key and its request (pending), a certificate brought back and checked
// (active), replaced (retiring, retired) or revoked, and that only what the state
// and the usage allow is signed in its name.
package issuer

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// State is where an issuer is in its life.
type State string

// The states. External is a CA certificate whose key is not here, such as the root
// above an issuing CA: it completes chains and signs nothing.
const (
	Pending  State = "pending"
	Active   State = "active"
	Retiring State = "retiring" // signs CRLs and OCSP only, until its last certificate ends
	Retired  State = "retired"
	Revoked  State = "revoked"
	External State = "external"
	// Deleted is an issuer that an operator deleted while relying parties still ask about
	// certificates of its CA: it is not listed, issues nothing, and its CRL and OCSP go on.
	Deleted State = "deleted"
)

// States lists every state once.
func States() []State { return []State{Pending, Active, Retiring, Retired, Revoked, External, Deleted} }

// Usage is what an operator lets an issuer do.
type Usage string

// The usages, in the words of the built-in engine.
const (
	ReadOnly    Usage = "read-only"
	Issuing     Usage = "issuing-certificates"
	CRLSigning  Usage = "crl-signing"
	OCSPSigning Usage = "ocsp-signing"
)

// Usages lists every usage once.
func Usages() []Usage { return []Usage{ReadOnly, Issuing, CRLSigning, OCSPSigning} }

// allowed says which usages a state leaves. A revoked issuer keeps its CRL going,
// because relying parties still ask about what it signed; it never issues again. So does
// a retired one: certificates of it may live, where an earlier release let it retire.
var allowed = map[State][]Usage{
	Pending:  {},
	Active:   {ReadOnly, Issuing, CRLSigning, OCSPSigning},
	Retiring: {ReadOnly, CRLSigning, OCSPSigning},
	Retired:  {ReadOnly, CRLSigning, OCSPSigning},
	Revoked:  {ReadOnly, CRLSigning, OCSPSigning},
	External: {ReadOnly},
	Deleted:  {ReadOnly, CRLSigning, OCSPSigning},
}

// The values of Settings.Publish. One that is empty was stored by an earlier release and
// is PublishAuto.
const (
	PublishAuto   = "auto"
	PublishAlways = "always"
	PublishNever  = "never"
)

// Settings are what an operator may change of an issuer: the fields of
// issuer/:ref, names and meanings as in the built-in engine.
type Settings struct {
	Name                string   `json:"issuer_name" doc:"Name of the issuer, unique in the mount; usable wherever an issuer is referred to."`
	LeafNotAfter        string   `json:"leaf_not_after_behavior" default:"err" enum:"err|truncate" doc:"Handling of a certificate that would expire after its issuer: err refuses the request, truncate shortens the certificate."`
	ManualChain         []string `json:"manual_chain" doc:"References of the issuers of the chain, starting with this one. If empty, the engine builds the chain by signatures."`
	Usage               []string `json:"usage" default:"crl-signing,issuing-certificates,ocsp-signing,read-only" enum:"read-only|issuing-certificates|crl-signing|ocsp-signing" doc:"Permitted uses of the issuer."`
	RevocationAlgorithm string   `json:"revocation_signature_algorithm" doc:"Signature algorithm of CRLs and OCSP responses, such as SHA256WithRSA or ECDSAWithSHA384. If empty, the engine chooses it by the key."`
	IssuingCertificates []string `json:"issuing_certificates" doc:"URLs of the issuer's certificate (AIA caIssuers), instead of those of config/urls."`
	CRLDistribution     []string `json:"crl_distribution_points" doc:"URLs of the issuer's CRL, instead of those of config/urls. {{crl_shard}} is replaced by the shard of the certificate."`
	DeltaCRLs           []string `json:"delta_crl_distribution_points" doc:"URLs of the issuer's delta CRL, instead of those of config/urls."`
	OCSPServers         []string `json:"ocsp_servers" doc:"URLs of the OCSP responder (AIA ocsp), instead of those of config/urls."`
	EnableAIATemplating bool     `json:"enable_aia_url_templating" default:"false" doc:"Whether {{issuer_id}}, {{ca_id}}, {{cluster_path}}, {{cluster_aia_path}} and {{crl_shard}} in this issuer's URLs are replaced when a certificate is issued."`
	Publish             string   `json:"publish" default:"auto" enum:"auto|always|never" doc:"Whether edges show the issuer and serve its certificate, CRLs and OCSP: auto (if its key is in this mount, it is above such an issuer, or its CRL was imported), always or never. never breaks revocation checking for certificates that name an edge."`
	PermittedProfiles   []string `json:"permitted_profiles" blank:"refuse" doc:"Profiles under which the issuer may issue; empty: all. Roles without a profile count as the profile named role:NAME."`
}

// DefaultSettings returns what a new issuer starts with.
func DefaultSettings() Settings {
	usage := make([]string, 0, 4)
	for _, u := range Usages() {
		usage = append(usage, string(u))
	}
	slices.Sort(usage) // as the built-in engine shows them
	return Settings{LeafNotAfter: "err", Usage: usage, Publish: PublishAuto}
}

// recordVersion is the version that a stored record carries.
const recordVersion = 1

// record is what is stored of one issuer.
type record struct {
	ID          string   `json:"id"`
	KeyID       string   `json:"key_id,omitempty"`
	State       State    `json:"state"`
	Certificate []byte   `json:"certificate,omitempty"` // DER
	CSR         []byte   `json:"csr,omitempty"`         // DER, of a pending or once pending issuer
	Profile     string   `json:"profile,omitempty"`     // what the certificate was requested to be
	RevokedAt   int64    `json:"revoked_at,omitempty"`  // seconds since 1970
	Settings    Settings `json:"settings"`
	CreatedAt   int64    `json:"created_at"`
	// CA is the identifier of the CA, see Issuer.CA; "" in records of earlier releases.
	CA string `json:"ca,omitempty"`
	// FormerNames are names that the issuer had: URLs in certificates may carry them.
	FormerNames []string `json:"former_names,omitempty"`
	// FormerIDs are ids under which the ledger has certificates of the issuer: those of
	// issuers of the same CA that an earlier release forgot.
	FormerIDs []string `json:"former_ids,omitempty"`
	DeletedAt int64    `json:"deleted_at,omitempty"` // seconds since 1970
	// NamesFree says that no certificate was known to need the names when the issuer was
	// deleted: any issuer may take them. Until then they lead here.
	NamesFree bool `json:"names_free,omitempty"`
}

// Issuer is an immutable view of one issuer, with its chain.
type Issuer struct {
	record
	cert    *x509.Certificate
	ca      string           // see CA
	key     cert.Fingerprint // of its public key, pending or not
	ended   string           // id of the revoked issuer that has the same key, or ""
	node    *node            // nil while pending
	parents []*Issuer        // all certificates of the CA that signed this one
	chain   []*Issuer        // for clients: this one first, up to the root where it is known
	// within checks drafts against the CAs above; usable says why it refuses them all.
	within sign.Check
	usable error
}

// ID returns the issuer's identifier, a UUID.
func (i *Issuer) ID() string { return i.record.ID }

// KeyID returns the id of the issuer's key in the keyring, "" for External.
func (i *Issuer) KeyID() string { return i.record.KeyID }

// Name returns the name that the operator gave, or "".
func (i *Issuer) Name() string { return i.record.Settings.Name }

// State returns where the issuer is in its life.
func (i *Issuer) State() State { return i.record.State }

// Settings returns what the operator may change.
func (i *Issuer) Settings() Settings { return i.record.Settings }

// Certificate returns the CA certificate, nil while pending.
func (i *Issuer) Certificate() *x509.Certificate { return i.cert }

// CSR returns the request in DER that this mount made for the issuer, or nil.
func (i *Issuer) CSR() []byte { return i.record.CSR }

// RequestedProfile returns the profile that the request asked for, or "".
func (i *Issuer) RequestedProfile() string { return i.record.Profile }

// Serial returns the serial number of the CA certificate, "" while pending.
func (i *Issuer) Serial() cert.Serial {
	if i.cert == nil {
		return ""
	}
	return cert.SerialOf(i.cert.SerialNumber)
}

// RevokedAt returns when the issuer was revoked; zero when it was not.
func (i *Issuer) RevokedAt() time.Time {
	if i.record.RevokedAt == 0 {
		return time.Time{}
	}
	return time.Unix(i.record.RevokedAt, 0).UTC()
}

// Key returns the fingerprint of the issuer's public key.
func (i *Issuer) Key() cert.Fingerprint { return i.key }

// Chain returns the certificates from this issuer up to the root, as far as the
// mount knows them.
func (i *Issuer) Chain() []*x509.Certificate { return certificates(i.chain) }

// WithinChain returns the check that a drafted certificate fits the issuer and all CAs
// above it: path lengths, key purposes, name constraints and validity (ca-2).
func (i *Issuer) WithinChain() sign.Check { return i.within }

// May reports whether state and settings let the issuer be used so. The key of a
// revoked issuer issues no more under any certificate (ca-4).
func (i *Issuer) May(use Usage) bool {
	if i.KeyID() == "" && use != ReadOnly {
		return false
	}
	return slices.Contains(i.record.Settings.Usage, string(use)) && slices.Contains(allowed[i.record.State], use) &&
		(use != Issuing || i.ended == "") && (use != CRLSigning || signsCRLs(i.cert))
}

// CheckUse is May as an error, Denied, that says why not.
func (i *Issuer) CheckUse(use Usage) error {
	switch {
	case i.May(use):
		return nil
	case use == Issuing && i.ended != "" && i.ended != i.ID():
		return fault.New(fault.Denied, "issuer %s (%s) is not usable for %s: it has the key of issuer %s, which was revoked", i.ID(), i.State(), use, i.ended)
	case use == CRLSigning && !signsCRLs(i.cert):
		return fault.New(fault.Denied, "issuer %s is not usable for %s: its certificate lacks the key usage cRLSign", i.ID(), use)
	case !slices.Contains(i.record.Settings.Usage, string(use)):
		return fault.New(fault.Denied, "issuer %s (%s) is not usable for %s: its usage is %s", i.ID(), i.State(), use, strings.Join(i.record.Settings.Usage, ","))
	}
	return fault.New(fault.Denied, "issuer %s (%s) is not usable for %s", i.ID(), i.State(), use)
}

// PermitsProfile reports whether the issuer may issue under the profile name, given
// without its version.
func (i *Issuer) PermitsProfile(name string) bool {
	permitted := i.record.Settings.PermittedProfiles
	return len(permitted) == 0 || slices.Contains(permitted, name)
}
