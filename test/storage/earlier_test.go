package storage_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// builds returns the commits whose storage is in testdata.
func builds(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("testdata")
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// each runs a test on the storage of every earlier build.
func each(t *testing.T, test func(t *testing.T, m *pathstest.Mount, counted *pathstest.Counted, said facts)) {
	for _, build := range builds(t) {
		t.Run(build, func(t *testing.T) {
			storage, said := written(t, build)
			m, counted := mountOn(t, storage)
			test(t, m, counted, said)
		})
	}
}

// within fails the test unless a response has all that another one had.
func within(t *testing.T, want, got body, of string) {
	t.Helper()
	for name, value := range want {
		require.Contains(t, got, name, of)
		require.Equal(t, value, got[name], "%s: %s", of, name)
	}
}

// custom returns the new name of a profile whose name is a preset's.
func custom(name string) string {
	if name == "tls-server" {
		return name + "-custom"
	}
	return name
}

func TestPast1_SettingsOfAnEarlierBuildAreRead(t *testing.T) {
	each(t, func(t *testing.T, m *pathstest.Mount, _ *pathstest.Counted, said facts) {
		for name, want := range said.Config {
			within(t, want, m.Read(t, "config/"+name, nil).OK().Data, name)
		}
		profiles := map[string]string{}
		for name, want := range said.Profiles {
			moved := maps.Clone(want)
			moved["name"] = custom(name)
			within(t, moved, m.Read(t, "profiles/"+custom(name), nil).OK().Data, name)
			profiles[custom(name)] = name
		}
		require.Len(t, m.List(t, "profiles/", nil).Texts("keys"), len(profiles))
		require.Contains(t, profiles, "tls-server-custom")
		for version := 1; version <= 3; version++ {
			m.Read(t, "profiles/server/versions/"+string(rune('0'+version)), nil).OK()
		}
		for name, want := range said.Roles {
			moved := maps.Clone(want)
			profile, version, pinned := strings.Cut(want["profile"].(string), "@")
			moved["profile"] = custom(profile)
			if pinned {
				moved["profile"] = custom(profile) + "@" + version
			}
			within(t, moved, m.Read(t, "roles/"+name, nil).OK().Data, name)
		}
		for name, want := range said.Publishers {
			within(t, want, m.Read(t, "publishers/"+name, nil).OK().Data, name)
			require.Len(t, m.Read(t, "publishers/"+name+"/status", nil).OK().Data["items"], 1)
		}
		for id, want := range said.Keys {
			within(t, want, m.Read(t, "key/"+id, nil).OK().Data, id)
		}
		within(t, said.Bulk, m.Read(t, "revoke/bulk/status", nil).OK().Data, "bulk")
		delete(said.Tidy, "last_auto_tidy_finished") // never is spelled differently
		within(t, said.Tidy, m.Read(t, "tidy-status", nil).OK().Data, "tidy")
		for name, want := range said.Issuers {
			got := m.Read(t, "issuer/"+name, nil).OK().Data
			within(t, want, got, name)
			require.Equal(t, got["issuer_id"], m.Read(t, "issuer/"+want["issuer_id"].(string), nil).OK().Data["issuer_id"])
		}
	})
}

func TestPast1_CertificatesOfAnEarlierBuildAreRead(t *testing.T) {
	each(t, func(t *testing.T, m *pathstest.Mount, _ *pathstest.Counted, said facts) {
		for _, c := range said.Certificates {
			answer := m.Read(t, "cert/"+c.Serial, nil)
			switch c.State {
			case "expired", "unstored":
				answer.Expect(404)
				continue
			}
			block, _ := pem.Decode([]byte(answer.OK().Text("certificate")))
			require.Equal(t, c.DER, block.Bytes)
			require.Equal(t, c.RevokedAt, answer.Number("revocation_time"), c.Serial)
			if c.RevokedAt != 0 {
				require.Equal(t, c.Reason, answer.Text("revocation_reason"))
			}
		}
	})
}

func TestCa5_RevocationsOfAnEarlierBuildAreOnCRLsAndInOCSP(t *testing.T) {
	each(t, func(t *testing.T, m *pathstest.Mount, counted *pathstest.Counted, said facts) {
		before := map[string]*x509.RevocationList{}
		for name := range said.Issuers {
			if name != "external" {
				before[name] = published(t, m, name)
				require.GreaterOrEqual(t, before[name].Number.Cmp(number(said.CRLNumbers[name])), 0, "%s goes back", name)
			}
		}
		require.Equal(t, before["active"].Raw, before["renewed"].Raw, "one CA, one list")
		revocations(t, m, said, before, "")
		m.Write(t, "crl/rotate", nil).OK()
		after := map[string]*x509.RevocationList{}
		for name := range before {
			after[name] = published(t, m, name)
			require.Positive(t, after[name].Number.Cmp(number(said.CRLNumbers[name])), name)
		}
		revocations(t, m, said, after, "")
		require.Positive(t, after["active"].Number.Cmp(number(said.CRLNumbers["renewed"])))

		// The CA whose issuer was deleted comes back: with its revocations.
		lost := check(t, m.Storage)
		require.Len(t, lost, 1)
		require.Contains(t, lost[0], "issuer/"+said.Deleted["id"]+": 2 certificates that have not expired")
		imported := m.Write(t, "issuers/import/cert", body{"pem_bundle": said.Deleted["certificate"]}).OK()
		id := imported.Texts("imported_issuers")[0]
		after["deleted"] = published(t, m, id)
		require.Positive(t, after["deleted"].Number.Cmp(number(said.CRLNumbers["deleted"])))
		revocations(t, m, said, after, id)
		rest(t, m, counted)
		require.Empty(t, check(t, m.Storage))

		// So does what a CA has revoked elsewhere, when its key comes.
		require.Equal(t, said.CRLNumbers["external"], published(t, m, "external").Number.String())
		m.Write(t, "issuers/import/bundle", body{"pem_bundle": said.ExternalKey}).OK()
		m.Write(t, "crl/rotate", nil).OK()
		external := published(t, m, "external")
		require.Positive(t, external.Number.Cmp(number(said.CRLNumbers["external"])))
		require.Len(t, external.RevokedCertificateEntries, len(said.ExternalRevoked))
		require.Empty(t, check(t, m.Storage))
	})
}

func TestPast1_ASecondStartChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, m *pathstest.Mount, counted *pathstest.Counted, said facts) {
		for _, reimport := range []bool{false, true} {
			if reimport {
				m.Write(t, "issuers/import/cert", body{"pem_bundle": said.Deleted["certificate"]}).OK()
				rest(t, m, counted)
			}
			before := lasting(t, m.Storage)
			m.Restart(t)
			rest(t, m, counted)
			after := lasting(t, m.Storage)
			for key, value := range before {
				require.Equal(t, value, after[key], "%s changed", key)
			}
			require.Len(t, after, len(before))
		}
	})
}

func TestPast1_AnEarlierBuildsRolesIssue(t *testing.T) {
	each(t, func(t *testing.T, m *pathstest.Mount, _ *pathstest.Counted, said facts) {
		for name := range said.Roles {
			m.Write(t, "issue/"+name, body{"common_name": "new.example.com"}).OK()
		}
	})
}

func number(text string) *big.Int {
	n, _ := new(big.Int).SetString(text, 10)
	return n
}

// published returns the complete CRL of an issuer.
func published(t *testing.T, m *pathstest.Mount, ref string) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(m.Read(t, "issuer/"+ref+"/crl/der", nil).OK().Body)
	require.NoError(t, err)
	block, _ := pem.Decode([]byte(m.Read(t, "issuer/"+ref, nil).OK().Text("certificate")))
	by, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(by))
	return list
}

// revocations holds CRLs and OCSP against what the earlier build has revoked. deleted is
// the issuer that has come back, "" before.
func revocations(t *testing.T, m *pathstest.Mount, said facts, lists map[string]*x509.RevocationList, deleted string) {
	t.Helper()
	for _, c := range said.Certificates {
		ref := c.Issuer
		if ref == "deleted" {
			ref = deleted
		}
		if ref == "" || c.State == "expired" {
			continue
		}
		leaf, err := x509.ParseCertificate(c.DER)
		require.NoError(t, err)
		listed := false
		for _, entry := range lists[c.Issuer].RevokedCertificateEntries {
			listed = listed || entry.SerialNumber.Cmp(leaf.SerialNumber) == 0
		}
		revoked := c.State == "revoked" || c.State == "suspended"
		require.Equal(t, revoked, listed, "%s of %s is %s", c.Serial, c.Issuer, c.State)

		block, _ := pem.Decode([]byte(m.Read(t, "issuer/"+ref, nil).OK().Text("certificate")))
		by, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		request, err := ocsp.CreateRequest(leaf, by, &ocsp.RequestOptions{Hash: crypto.SHA256})
		require.NoError(t, err)
		response, err := ocsp.ParseResponseForCert(m.Read(t, "ocsp/"+base64.StdEncoding.EncodeToString(request), nil).OK().Body, leaf, by)
		require.NoError(t, err, "%s of %s", c.Serial, c.Issuer)
		want := ocsp.Good
		if revoked {
			want = ocsp.Revoked
			require.Equal(t, c.RevokedAt, response.RevokedAt.Unix())
		}
		require.Equal(t, want, response.Status, "%s of %s", c.Serial, c.Issuer)
	}
}
