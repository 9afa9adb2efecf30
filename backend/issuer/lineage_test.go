package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// encoded makes a Name of one common name in a string type of choice.
func encoded(t *testing.T, tag int, name string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: tag, Bytes: []byte(name)}}}})
	require.NoError(t, err)
	return der
}

// named returns the CA with another form of its name, as it puts it into the issuer
// field of what it signs.
func (o outside) named(raw []byte) outside {
	renamed := *o.cert
	renamed.RawSubject = raw
	return outside{&renamed, o.key}
}

// again makes another certificate for the CA's key and name, signed by its own key.
func (o outside) again(t *testing.T, change func(*x509.Certificate)) outside {
	t.Helper()
	return outside{outside{key: o.key}.sign(t, o.cert.Subject.CommonName, o.key.Public(), change), o.key}
}

func (o outside) below(t *testing.T, name string, change func(*x509.Certificate)) outside {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	return outside{o.sign(t, name, key.Public(), change), key}
}

func only(domain string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{domain}
	}
}

// issues drafts a certificate for a host under an issuer.
func issues(t *testing.T, set *issuer.Set, id, host string) error {
	t.Helper()
	ctx := context.Background()
	i, err := set.Get(ctx, id)
	require.NoError(t, err)
	authority, err := set.Authority(ctx, i, issuer.Issuing, 0)
	require.NoError(t, err)
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	serial, err := cert.ParseSerial("01:02")
	require.NoError(t, err)
	_, err = authority.Draft(&x509.Certificate{
		SerialNumber: serial.Big(), NotBefore: now, NotAfter: now.AddDate(0, 0, 1), DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, key.Public(), i.WithinChain())
	return err
}

// arrived makes a pending issuer, has it signed and imports the bundle; it returns
// the set, the id and what the import answered.
func arrived(t *testing.T, signed func(pub crypto.PublicKey) []*x509.Certificate) (*issuer.Set, string, issuer.ImportResult, error) {
	t.Helper()
	set := open(kvtest.New())
	waiting, pub := pending(t, set, "issuing")
	result, err := set.Import(context.Background(), issuer.ImportRequest{PEM: bundle(signed(pub)...), NeedPending: true})
	return set, waiting.ID(), result, err
}

func TestCA2_NamesThatRFC5280CallsEqualLinkTheChain(t *testing.T) {
	root := newOutside(t, "Root")
	root = root.again(t, only("example.com"))
	for name, raw := range map[string][]byte{
		"PrintableString": encoded(t, asn1.TagPrintableString, "Root"),
		"UTF8String":      encoded(t, asn1.TagUTF8String, "Root"),
		"case":            encoded(t, asn1.TagUTF8String, "ROOT"),
		"white space":     encoded(t, asn1.TagUTF8String, " Root  "),
	} {
		set, id, result, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
			return []*x509.Certificate{root.named(raw).sign(t, "issuing", pub, nil), root.cert}
		})
		require.NoError(t, err, name)
		i, err := set.Get(context.Background(), id)
		require.NoError(t, err)
		require.Len(t, i.Chain(), 2, name)
		require.ErrorContains(t, issues(t, set, id, "www.evil.org"), "not permitted", name)
		require.NoError(t, issues(t, set, id, "www.example.com"), name)
		if string(raw) != string(root.cert.RawSubject) {
			require.Len(t, result.Warnings, 1, name)
			require.Contains(t, result.Warnings[0], "another encoding", name)
		}
	}
}

func TestCA2_NoOtherCertificateOfAParentLiftsConstraints(t *testing.T) {
	ctx := context.Background()
	root := newOutside(t, "Root").again(t, only("example.com"))
	other := newOutside(t, "Other")
	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, nil), root.cert}
	})
	require.NoError(t, err)
	free := root.again(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(20, 0, 0) })
	cross := other.sign(t, "Root", root.key.Public(), nil)
	for name, certs := range map[string][]*x509.Certificate{"second": {free.cert}, "cross": {cross, other.cert}} {
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(certs...)})
		require.NoError(t, err, name)
		require.ErrorContains(t, issues(t, set, id, "www.evil.org"), "not permitted", name)
		require.NoError(t, issues(t, set, id, "www.example.com"), name)
	}
	narrow := root.again(t, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"secret.example.com"} })
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(narrow.cert)})
	require.NoError(t, err)
	require.ErrorContains(t, issues(t, set, id, "a.secret.example.com"), "excluded")
}

func TestCA2_AnImportEndsNoIssuer(t *testing.T) {
	root := newOutside(t, "Root")
	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{root.sign(t, "issuing", pub, nil), root.cert}
	})
	require.NoError(t, err)
	closed := root.again(t, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	_, err = set.Import(context.Background(), issuer.ImportRequest{PEM: bundle(closed.cert)})
	require.ErrorContains(t, err, "path length 0")
	require.NoError(t, issues(t, set, id, "www.example.com"))
	_, _, _, err = arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{closed.sign(t, "issuing", pub, nil), closed.cert}
	})
	require.ErrorContains(t, err, "path length 0", "known when it is imported, not at the first certificate")
}

func TestManualChainHoldsSeveralPaths(t *testing.T) {
	ctx := context.Background()
	a, b, stranger := newOutside(t, "Root A"), newOutside(t, "Root B").again(t, only("example.com")), newOutside(t, "Stranger")
	var crossed *x509.Certificate
	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		crossed = b.sign(t, "issuing", pub, nil)
		return []*x509.Certificate{a.sign(t, "issuing", pub, nil), a.cert, crossed, b.cert}
	})
	require.NoError(t, err)
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(stranger.cert)})
	require.NoError(t, err)
	all, err := set.List(ctx)
	require.NoError(t, err)
	ids := map[string]string{}
	for _, i := range all {
		ids[string(i.Certificate().Raw)] = i.ID()
	}
	crossID, aID, bID, strangerID := ids[string(crossed.Raw)], ids[string(a.cert.Raw)], ids[string(b.cert.Raw)], ids[string(stranger.cert.Raw)]
	require.NotEmpty(t, crossID, "two certificates of one pending key are two issuers")
	i, err := set.Get(ctx, id)
	require.NoError(t, err)
	for name, refs := range map[string][]string{
		"stranger": {"self", aID, strangerID}, "twice": {"self", aID, aID}, "gap": {"self", bID, crossID}, "not itself": {aID, "self"},
	} {
		settings := i.Settings()
		settings.ManualChain = refs
		_, err := set.Update(ctx, id, settings)
		require.Equal(t, "manual_chain", fault.FieldOfError(err), "%s: %v", name, err)
	}
	settings := i.Settings()
	settings.ManualChain = []string{"self", aID, crossID, bID}
	changed, err := set.Update(ctx, id, settings)
	require.NoError(t, err)
	require.Len(t, changed.Chain(), 4)
	require.Equal(t, aID, changed.Parent().ID())
	require.NoError(t, issues(t, set, id, "www.evil.org"), "what clients get does not say what may be issued")
	require.ErrorContains(t, issues(t, set, crossID, "www.evil.org"), "not permitted")
}

func TestDoS1_ChainsTakeBoundedWork(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	set := open(store)
	id := []byte("one identifier for all")
	var many []*x509.Certificate
	for range 90 {
		decoy := newOutside(t, "Same").again(t, func(c *x509.Certificate) { c.SubjectKeyId, c.AuthorityKeyId = id, id })
		many = append(many, decoy.cert)
	}
	_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(many...)})
	require.NoError(t, err, "self-signed certificates are their own parents")
	require.LessOrEqual(t, set.Verified(), len(many))

	victim := newOutside(t, "Same").again(t, func(c *x509.Certificate) { c.SubjectKeyId = id })
	child := victim.below(t, "issuing", nil)
	before := set.Verified()
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(child.cert)})
	require.ErrorContains(t, err, "more than 8 keys")
	require.LessOrEqual(t, set.Verified()-before, 10)

	tooMany := make([]*x509.Certificate, 400)
	for i := range tooMany {
		tooMany[i] = many[0]
	}
	before = set.Verified()
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(tooMany...)})
	require.True(t, fault.Is(err, fault.TooLarge), "%v", err)
	require.Zero(t, set.Verified()-before)

	// A change verifies nothing again, a start each certificate once.
	require.NoError(t, set.PutCluster(ctx, issuer.Cluster{AIAPath: "http://pki.example.com"}))
	require.Zero(t, set.Verified()-before)
	fresh := open(store)
	require.NoError(t, fresh.Load(ctx))
	require.LessOrEqual(t, fresh.Verified(), len(many))
}

// Decoys that are imported later come last, and those that hide the parent refuse the
// certificate that needs it.
func TestDoS1_DecoysLiftNoConstraints(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	set := open(store)
	root := newOutside(t, "Root").again(t, only("example.com"))
	waiting, pub := pending(t, set, "issuing")
	child := root.sign(t, "issuing", pub, nil)
	_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(child), NeedPending: true})
	require.NoError(t, err)
	for n := range 20 {
		decoy := newOutside(t, "Root").again(t, func(c *x509.Certificate) { c.SubjectKeyId = root.cert.SubjectKeyId })
		if _, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(decoy.cert)}); err != nil {
			require.Equal(t, 8, n)
			break
		}
	}
	require.ErrorContains(t, err, "more than 8 keys")
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert)})
	require.ErrorContains(t, err, "more than 8 keys", "the parent must not be one too many either")
	for _, set := range []*issuer.Set{set, open(store)} {
		require.NoError(t, issues(t, set, waiting.ID(), "www.example.com"), "%d signatures verified", set.Verified())
	}
}

// TestDoS1_ManyRootsOfOneName: other keys of a name matter to nobody whose certificate
// names its CA by key identifier.
func TestDoS1_ManyRootsOfOneName(t *testing.T) {
	ctx := context.Background()
	set, id, _, err := arrived(t, func(pub crypto.PublicKey) []*x509.Certificate {
		return []*x509.Certificate{newOutside(t, "Root").sign(t, "issuing", pub, nil)}
	})
	require.NoError(t, err)
	for range 12 {
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(newOutside(t, "Root").cert)})
		require.NoError(t, err)
	}
	require.NoError(t, issues(t, set, id, "www.example.com"))
	root := newOutside(t, "Root").again(t, only("example.com"))
	waiting, pub := pending(t, set, "next")
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.sign(t, "next", pub, nil), root.cert), NeedPending: true})
	require.NoError(t, err)
	require.ErrorContains(t, issues(t, set, waiting.ID(), "www.evil.org"), "not permitted")
}
