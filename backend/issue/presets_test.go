package issue_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func preset(t *testing.T, name string) profile.Config {
	t.Helper()
	config, err := profile.FromPreset(name)
	require.NoError(t, err)
	return config
}

// hierarchy is a CA made by the preset root-ca, through the real rooms.
func hierarchy(t *testing.T) *sign.Authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	config := preset(t, "root-ca")
	root, err := profile.New("root", 1, config)
	require.NoError(t, err)
	made, err := root.Template(profile.Ask{Subject: pkix.Name{CommonName: "Root 1"}, PublicKey: key.Public()}, now)
	require.NoError(t, err)
	made.Certificate.SerialNumber = serial(t)
	draft, err := sign.SelfDraft(made.Certificate, key, 0, lint.Check(lint.Policy{FailAt: lint.Error}))
	require.NoError(t, err)
	signed, err := draft.Sign()
	require.NoError(t, err)
	authority, err := sign.NewAuthority(sign.Config{Certificate: signed, Signer: key})
	require.NoError(t, err)
	return authority
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	raw := make([]byte, 20)
	_, err := rand.Read(raw)
	require.NoError(t, err)
	raw[0] = 1
	return new(big.Int).SetBytes(raw)
}

// What the shipped presets and the built-in defaults make passes the lints of the
// RFCs, whatever the key: nobody must switch rules off to start.
func TestDefaultsAndPresetsPassTheLints(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keys := []crypto.Signer{
		must(rsa.GenerateKey(rand.Reader, 3072)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), edKey,
	}
	ca := hierarchy(t)
	defaults := role.DefaultConfig()
	defaults.KeyType, defaults.AllowAnyName = "any", true
	built := must(role.New("built-in", defaults, nil, ""))
	profiles := map[string]*profile.Profile{"built-in role": built.Profile()}
	for _, name := range profile.Presets() {
		if name != "root-ca" {
			profiles[name] = must(profile.New(name, 1, preset(t, name)))
		}
	}
	for name, p := range profiles {
		drafts := 0
		for _, key := range keys {
			ask := profile.Ask{PublicKey: key.Public(), Issuer: ca.Certificate(), TTL: 48 * time.Hour, URLs: profile.URLs{
				IssuingCertificates:   []string{"http://pki.example.com/ca.der"},
				CRLDistributionPoints: []string{"http://pki.example.com/crl"},
				OCSPServers:           []string{"http://ocsp.example.com"},
			}}
			ask.Subject.CommonName = "web.example.com"
			if len(p.Config().SANTypes) > 0 {
				ask.Names = cert.Names{DNS: []string{"web.example.com"}}
			}
			if name == "code-signing" {
				ask.Subject.Organization, ask.Subject.Country = []string{"Example"}, []string{"DE"}
			}
			made, err := p.Template(ask, now)
			if err != nil {
				require.Equal(t, "key_type", fault.FieldOfError(err), "%s with %T: %v", name, key, err)
				continue
			}
			made.Certificate.SerialNumber = serial(t)
			policy := lint.Policy{FailAt: lint.Error}
			draft, err := ca.Draft(made.Certificate, key.Public(), lint.Check(policy))
			require.NoError(t, err, "%s with %T", name, key)
			require.Equal(t, made.Certificate.SignatureAlgorithm, draft.Certificate().SignatureAlgorithm)
			drafts++
		}
		require.NotZero(t, drafts, "no key suits %s", name)
	}
}
