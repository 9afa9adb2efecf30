package ceremony_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

func years(t *testing.T, text string) ceremony.Period {
	t.Helper()
	period, err := ceremony.ParsePeriod(text)
	require.NoError(t, err)
	return period
}

func rootOrder(t *testing.T, on *token.Token, algorithm string) ceremony.RootOrder {
	t.Helper()
	dir := t.TempDir()
	return ceremony.RootOrder{
		Token:    ceremony.TokenOrder{Module: on.Module, Serial: on.Serial},
		Key:      ceremony.KeyOrder{Label: "root of " + t.Name(), Algorithm: algorithm},
		Subject:  ceremony.Subject{CommonName: "Test Root"},
		Validity: years(t, "20y"),
		CRL:      ceremony.RootCRL{NextUpdate: years(t, "365d")},
		Outputs: ceremony.RootOutputs{
			Certificate: filepath.Join(dir, "root.pem"), CRL: filepath.Join(dir, "root.crl"), Record: filepath.Join(dir, "root.record"),
		},
	}
}

// at returns a ceremony that calls disturb when a step is done.
func at(on *token.Token, step string, disturb func()) *ceremony.Ceremony {
	return ceremony.New(ceremony.Config{
		PIN: func(string) (string, error) { return on.PIN, nil },
		Now: func() time.Time { return start },
		Report: func(done ceremony.Step) {
			if done.Name == step {
				disturb()
			}
		},
	})
}

func TestRootIsMadeWithEveryAlgorithmOfThePreset(t *testing.T) {
	on := token.New(t, "root")
	for _, algorithm := range []string{"ec-384", "rsa-4096"} {
		t.Run(algorithm, func(t *testing.T) {
			order := rootOrder(t, on, algorithm)
			verified := false
			require.NoError(t, at(on, "verified from the files", func() { verified = true }).CreateRoot(t.Context(), order))
			require.True(t, verified)
		})
	}
}

func TestRootRefusesAnAlgorithmBeyondThePresetBeforeTheTokenIsOpened(t *testing.T) {
	on := token.New(t, "root")
	for _, algorithm := range []string{"", "ec-256", "rsa-2048", "ed25519", "dsa-1024"} {
		order := rootOrder(t, on, algorithm)
		err := at(on, "token opened", func() { t.Error("the token was opened") }).CreateRoot(t.Context(), order)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", algorithm, err)
		require.NoFileExists(t, order.Outputs.Certificate)
		require.NoFileExists(t, order.Outputs.Record)
	}
}

// "Signed but unrecorded" cannot happen: without a place for the intent, the key
// does not sign.
func TestNothingIsSignedWhoseIntentCannotBeRecorded(t *testing.T) {
	on := token.New(t, "root")
	order := rootOrder(t, on, "ec-384")
	signed := false
	disturbed := ceremony.New(ceremony.Config{
		PIN: func(string) (string, error) { return on.PIN, nil },
		Now: func() time.Time { return start },
		Report: func(step ceremony.Step) {
			switch step.Name {
			case "key generated in the token":
				require.NoError(t, os.Remove(order.Outputs.Record))
			case "certificate signed", "CRL signed":
				signed = true
			}
		},
	})
	err := disturbed.CreateRoot(t.Context(), order)
	require.True(t, fault.Is(err, fault.Unavailable), err)
	require.ErrorContains(t, err, "the new key stays in the token under CKA_ID")
	require.False(t, signed)
	require.NoFileExists(t, order.Outputs.Certificate, "the reservation must be gone")
	require.NoFileExists(t, order.Outputs.CRL)
}

// Cut short after the signature: the intent is on disk without a result.
func TestASignatureThatCannotBeWrittenLeavesItsIntent(t *testing.T) {
	on := token.New(t, "root")
	order := rootOrder(t, on, "ec-384")
	err := at(on, "certificate signed", func() {
		require.NoError(t, os.Mkdir(order.Outputs.Certificate+".part", 0o700))
	}).CreateRoot(t.Context(), order)
	require.True(t, fault.Is(err, fault.Unavailable), err)
	record, err := os.ReadFile(order.Outputs.Record)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(record), "\n"))
	require.Contains(t, string(record), `"event":"intent"`)
	require.NoFileExists(t, order.Outputs.Certificate)
	require.NoFileExists(t, order.Outputs.CRL)
}

// A reserved name that someone else filled meanwhile is neither overwritten nor removed.
func TestWhatOthersWroteMeanwhileIsNotOverwritten(t *testing.T) {
	for name, fill := range map[string]func(path string) error{
		"in place": func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o600) },
		"anew": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("theirs"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			on := token.New(t, "root")
			order := rootOrder(t, on, "ec-384")
			err := at(on, "token opened", func() { require.NoError(t, fill(order.Outputs.CRL)) }).CreateRoot(t.Context(), order)
			require.True(t, fault.Is(err, fault.Conflict), err)
			left, err := os.ReadFile(order.Outputs.CRL)
			require.NoError(t, err)
			require.Equal(t, "theirs", string(left))
			require.NoFileExists(t, order.Outputs.CRL+".part")
		})
	}
}

// The offline command and the engine judge by the same rules.
func TestWhatCeremoniesMakePassesTheEnginesLints(t *testing.T) {
	on := token.New(t, "root")
	order := rootOrder(t, on, "ec-384")
	quiet := at(on, "", nil)
	require.NoError(t, quiet.CreateRoot(t.Context(), order))
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Test Issuing CA"}}, newKey(t, elliptic.P384()))
	require.NoError(t, err)
	issuing := ceremony.IssuingOrder{
		Token: order.Token, Key: ceremony.KeyOrder{Label: order.Key.Label}, Issuer: order.Outputs.Certificate, Validity: years(t, "1826d"),
		Profile: ceremony.Limits{PermittedDNSDomains: []string{"example.com"}, PolicyIdentifiers: []string{"2.23.140.1.2.2"}},
		URLs:    ceremony.URLOrder{CRL: []string{"http://pki.example.com/root.crl"}, CAIssuers: []string{"http://pki.example.com/root.cer"}},
		Outputs: ceremony.IssuingOutputs{Certificate: filepath.Join(t.TempDir(), "ca.pem"), Record: order.Outputs.Record},
	}
	require.NoError(t, quiet.SignIssuing(t.Context(), issuing, csr))
	read := func(path string) *x509.Certificate {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		certificates, _, err := cert.ParseCertificates(raw)
		require.NoError(t, err)
		return certificates[0]
	}
	root := read(order.Outputs.Certificate)
	for _, certificate := range []*x509.Certificate{root, read(issuing.Outputs.Certificate)} {
		findings, err := lint.Certificate(certificate, root, lint.Policy{})
		require.NoError(t, err)
		for _, finding := range findings {
			require.Less(t, finding.Severity, lint.Error, "%s: %+v", certificate.Subject, finding)
		}
	}
}
