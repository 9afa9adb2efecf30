package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

func TestCA3_CertificatesOffTheChainAreRefused(t *testing.T) {
	ctx := context.Background()
	root, stranger, other := newOutside(t, "Root"), newOutside(t, "Stranger"), newOutside(t, "Other Root")
	policy := root.below(t, "Policy", nil)
	crossed := other.sign(t, "Root", root.key.Public(), nil)
	signed := func(above ...*x509.Certificate) func(crypto.PublicKey) []*x509.Certificate {
		return func(pub crypto.PublicKey) []*x509.Certificate {
			return append([]*x509.Certificate{policy.sign(t, "issuing", pub, nil)}, above...)
		}
	}
	_, _, result, err := arrived(t, signed(policy.cert, root.cert, crossed, other.cert))
	require.NoError(t, err, "a cross-certificate is above on some path")
	require.Empty(t, result.Warnings)
	require.Len(t, result.ImportedIssuers, 5)

	_, _, _, err = arrived(t, signed(policy.cert, root.cert, stranger.cert))
	require.Equal(t, "certificate", fault.FieldOfError(err))
	require.ErrorContains(t, err, "Stranger")
	sibling := root.below(t, "Sibling", nil)
	_, _, _, err = arrived(t, signed(policy.cert, root.cert, sibling.cert))
	require.ErrorContains(t, err, "Sibling")

	_, _, result, err = arrived(t, signed(policy.cert))
	require.NoError(t, err)
	require.Len(t, result.Warnings, 2, "%v", result.Warnings)
	require.Contains(t, result.Warnings[0], `"CN=Root" is not in this mount`)

	// What was imported before counts.
	set := open(kvtest.New())
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(policy.cert)})
	require.NoError(t, err)
	_, pub := pending(t, set, "issuing")
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(policy.sign(t, "issuing", pub, nil), root.cert), NeedPending: true})
	require.NoError(t, err)

	// Trust anchors by themselves need no relation.
	result, err = open(kvtest.New()).Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert, stranger.cert, other.cert)})
	require.NoError(t, err)
	require.Empty(t, result.Warnings)
}

func TestCA3_BundlesWithAKeyHoldItsChainAlone(t *testing.T) {
	ctx := context.Background()
	root, stranger := newOutside(t, "Root"), newOutside(t, "Stranger")
	issuing := root.below(t, "issuing", nil)
	der, err := x509.MarshalPKCS8PrivateKey(issuing.key)
	require.NoError(t, err)
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	try := func(set *issuer.Set, certs ...*x509.Certificate) error {
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: slices.Concat(bundle(certs...), private), AllowKeys: true})
		return err
	}
	require.NoError(t, try(open(kvtest.New()), issuing.cert, root.cert))
	require.ErrorContains(t, try(open(kvtest.New()), issuing.cert, root.cert, stranger.cert), "Stranger")
	require.ErrorContains(t, try(open(kvtest.New()), stranger.cert), "none of the certificates has the public key")
	set := open(kvtest.New())
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(issuing.cert)})
	require.NoError(t, err)
	require.ErrorContains(t, try(set, stranger.cert), "Stranger", "the key is that of a certificate in the mount")
	require.NoError(t, try(set, root.cert))
}

func TestCA3_ChainsThatOthersRejectAreRefused(t *testing.T) {
	ctx := context.Background()
	root := newOutside(t, "Root")
	wrong := []byte{0xaa, 0xbb}
	odd := func(c *x509.Certificate) { c.AuthorityKeyId = wrong }
	// x509.CreateCertificate takes the identifier of the parent.
	misled := *root.cert
	misled.SubjectKeyId = wrong
	liar := outside{&misled, root.key}
	_, _, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{liar.sign(t, "issuing", pub, odd), root.cert}
	})
	require.Equal(t, "certificate", fault.FieldOfError(err))
	require.ErrorContains(t, err, hex.EncodeToString(wrong))
	require.ErrorContains(t, err, hex.EncodeToString(root.cert.SubjectKeyId))

	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{liar.sign(t, "issuing", pub, odd)}
	})
	require.NoError(t, err, "whether it is wrong shows when the root comes")
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert)})
	require.ErrorContains(t, err, hex.EncodeToString(wrong))
	matching := root.again(t, func(c *x509.Certificate) { c.SubjectKeyId = wrong })
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(matching.cert, root.cert)})
	require.NoError(t, err, "one of two certificates of the root has the identifier")
	i, err := set.Get(ctx, id)
	require.NoError(t, err)
	require.True(t, i.Parent().Certificate().Equal(matching.cert))

	numbered, err := asn1.Marshal(struct {
		KeyID  []byte `asn1:"optional,tag:0"`
		Serial int    `asn1:"optional,tag:2"`
	}{root.cert.SubjectKeyId, 4660})
	require.NoError(t, err)
	_, _, _, err = arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: numbered}}
		}), root.cert}
	})
	require.ErrorContains(t, err, "names the serial number 12:34")
}

func TestCA3_ACertificateThatIsNeverValid(t *testing.T) {
	root := newOutside(t, "Root")
	_, _, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, func(c *x509.Certificate) { c.NotBefore = c.NotAfter.AddDate(1, 0, 0) })}
	})
	require.ErrorContains(t, err, "never valid")
}

func TestUsageFollowsKeyUsage(t *testing.T) {
	ctx := context.Background()
	root := newOutside(t, "Root")
	set, id, result, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), root.cert}
	})
	require.NoError(t, err)
	require.Len(t, result.Warnings, 1)
	require.Contains(t, result.Warnings[0], "cRLSign")
	i, err := set.Get(ctx, id)
	require.NoError(t, err)
	require.False(t, i.May(issuer.CRLSigning))
	require.True(t, i.May(issuer.Issuing))
	require.NotContains(t, i.Settings().Usage, string(issuer.CRLSigning))
	settings := i.Settings()
	settings.Usage = []string{"issuing-certificates", "crl-signing"}
	_, err = set.Update(ctx, id, settings)
	require.Equal(t, "usage", fault.FieldOfError(err))
	require.ErrorContains(t, err, "cRLSign")
	settings.Usage = []string{"issuing-certificates"}
	_, err = set.Update(ctx, id, settings)
	require.NoError(t, err)
}

func TestCA2_DirectoryNameConstraintsOfAnImportedCA(t *testing.T) {
	constraint := func(tag int, base []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			subtree := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: base}
			value, err := asn1.Marshal(struct {
				Permitted []struct{ Base asn1.RawValue } `asn1:"tag:0"`
			}{[]struct{ Base asn1.RawValue }{{subtree}}})
			require.NoError(t, err)
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: value}}
		}
	}
	root := newOutside(t, "Root")
	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, constraint(4, encoded(t, asn1.TagPrintableString, "Odd"))), root.cert}
	})
	require.NoError(t, err)
	require.NoError(t, issues(t, set, id, "www.example.com"), "an empty subject is no name")
	_, _, _, err = arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, constraint(0, []byte{0x06, 2, 0x2a, 3, 0xa0, 2, 0x0c, 0})), root.cert}
	})
	require.Equal(t, "certificate", fault.FieldOfError(err))
	require.ErrorContains(t, err, "otherName are not understood")
}
