package profile

import (
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const day = 24 * 60 * 60 // seconds

// presets is the shipped catalogue in the order in which it is shown. Each entry
// changes the defaults, and only makes them what the preset's purpose needs.
var presets = []struct {
	name string
	set  func(*Config)
}{
	{"tls-server", tlsServer},
	{"tls-client", tlsClient},
	{"mtls-service", mtlsService},
	{"code-signing", codeSigning},
	{"ocsp-responder", ocspResponder},
	{"issuing-ca", issuingCA},
	{"root-ca", rootCA},
}

// Presets lists the names of the shipped catalogue.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Preset returns a preset of the catalogue, complete and valid; ok is false when
// there is none of that name. The caller owns the result.
func Preset(name string) (config Config, ok bool) {
	for _, p := range presets {
		if p.name != name {
			continue
		}
		config = DefaultConfig()
		config.Preset = name
		config.NotBeforeDur = 5 * 60
		p.set(&config)
		return config, true
	}
	return Config{}, false
}

// FromPreset returns the Config that a new profile starts from: the preset, or
// the plain defaults when the name is empty.
func FromPreset(name string) (Config, error) {
	if name == "" {
		return DefaultConfig(), nil
	}
	config, ok := Preset(name)
	if !ok {
		return Config{}, fault.Field("preset", "must be %s, not %q", fault.List(Presets()), name)
	}
	return config, nil
}

// addKeyEncipherment says how to serve clients that use the RSA key exchange of TLS 1.2.
// It is optional, because TLS needs nothing but digitalSignature for every exchange with
// forward secrecy (RFC 8446, RFC 9325 section 4.1), and a key should have one use.
const addKeyEncipherment = " RSA keys get no keyEncipherment, which only the RSA key exchange of TLS 1.2 needs (as in old NSS clients)." +
	" To add it, set key_usage=DigitalSignature,KeyEncipherment in the role, or ask for it in the CSR."

func tlsServer(c *Config) {
	c.Description = "TLS servers, within the CA/Browser Forum's lifetimes." + addKeyEncipherment
	c.DefaultTTL, c.MaxTTL = 45*day, 398*day
	c.ValiditySchedule = scheduleCABFTLS
	c.SANTypes, c.SANMin = []string{SANDNS, SANIP}, 1
	c.AllowWildcards = true
	c.KeyUsageOptional = []string{"KeyEncipherment"}
	c.ExtKeyUsage = []string{"ServerAuth"}
}

func tlsClient(c *Config) {
	c.Description = "TLS clients: people, machines and workloads that log in"
	c.DefaultTTL, c.MaxTTL = 30*day, 365*day
	c.SANTypes, c.SANMin = []string{SANDNS, SANURI, SANEmail, SANOther}, 1
	c.ExtKeyUsage = []string{"ClientAuth"}
}

func mtlsService(c *Config) {
	c.Description = "services that are TLS server and client at once." + addKeyEncipherment
	c.DefaultTTL, c.MaxTTL = 30*day, 90*day
	c.SANTypes, c.SANMin = []string{SANDNS, SANURI}, 1
	c.SANRequiredTypes, c.SANURIMax = []string{SANDNS}, 1
	c.KeyUsageOptional = []string{"KeyEncipherment"}
	c.ExtKeyUsage = []string{"ServerAuth", "ClientAuth"}
}

func codeSigning(c *Config) {
	c.Description = "publishers of software"
	c.KeyAlgorithms = []string{"rsa-3072", "ec-256", "ec-384"}
	c.IssuerKeyAlgorithms = []string{"rsa-4096", "ec-256", "ec-384", "ec-521"}
	c.DefaultTTL, c.MaxTTL = 365*day, 460*day
	c.SubjectRequired = []string{"organization", "country"}
	c.SubjectAllowed = []string{"common_name", "organization", "ou", "country", "locality", "province"}
	c.CNPolicy, c.SANTypes, c.SANMax, c.SANURIMax = CNFree, nil, 0, 0
	c.ExtKeyUsage = []string{"CodeSigning"}
	c.CRLRetention = 10 * 365 * day // signatures with a time stamp outlive the certificate
}

func ocspResponder(c *Config) {
	c.Description = "OCSP responders delegated by the CA itself"
	c.Kind = KindOCSP
	c.DefaultTTL, c.MaxTTL = 14*day, 90*day
	c.SubjectRequired = []string{"common_name"}
	c.SubjectAllowed = []string{"common_name", "organization", "country"}
	c.CNPolicy, c.SANTypes, c.SANMax, c.SANURIMax = CNFree, nil, 0, 0
	c.ExtKeyUsage = []string{"OCSPSigning"}
	c.CRLDistribution, c.OCSPNoCheck = "none", true
}

// issuingCA names the uses of the catalogue's leaves but OCSPSigning: a CA with
// that usage could answer OCSP for its own issuer.
func issuingCA(c *Config) {
	c.Description = "issuing CAs below a root"
	ca(c)
	c.Kind = KindSubCA
	c.DefaultTTL, c.MaxTTL = 1826*day, 2922*day
	c.MaxPathLength = 0
	c.ExtKeyUsage = []string{"ServerAuth", "ClientAuth", "CodeSigning"}
}

func rootCA(c *Config) {
	c.Description = "roots"
	ca(c)
	c.Kind = KindRoot
	c.DefaultTTL, c.MinTTL, c.MaxTTL = 7305*day, 2922*day, 9132*day
	c.AIA, c.CRLDistribution = "none", "none"
}

func ca(c *Config) {
	c.KeyAlgorithms = []string{"rsa-4096", "ec-384"}
	c.SubjectRequired = []string{"common_name"}
	c.SubjectAllowed = slices.DeleteFunc(SubjectAttributes(), func(a string) bool { return a == "user_id" })
	c.CNPolicy, c.SANTypes, c.SANMax, c.SANURIMax = CNFree, nil, 0, 0
	c.KeyUsage = []string{"CertSign", "CRLSign"}
}
