package sign_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

type edit func(*x509.Certificate)

// under makes a CA below the parent.
func under(t testing.TB, parent *sign.Authority, change edit) *sign.Authority {
	t.Helper()
	template := caTemplate("Issuing")
	template.SerialNumber = big.NewInt(7)
	if change != nil {
		change(template)
	}
	signer := key(t, cert.P256)
	draft, err := parent.Draft(template, signer.Public())
	require.NoError(t, err)
	certificate, err := draft.Sign()
	require.NoError(t, err)
	return authority(t, certificate, signer, 0)
}

// try drafts a certificate under root > issuing and returns the check's verdict.
func try(t testing.TB, top, issuing edit, template *x509.Certificate) error {
	t.Helper()
	parent := root(t, key(t, cert.P256), 0, top)
	issuer := under(t, parent, issuing)
	check := sign.WithinChain([]*x509.Certificate{issuer.Certificate(), parent.Certificate()})
	_, err := issuer.Draft(template, key(t, cert.P256).Public(), check)
	return err
}

func network(text string) *net.IPNet {
	_, parsed, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func with(template *x509.Certificate, change edit) *x509.Certificate {
	change(template)
	return template
}

func TestCA2_NameConstraints(t *testing.T) {
	uri := func(text string) edit {
		return func(c *x509.Certificate) {
			parsed, err := url.Parse(text)
			require.NoError(t, err)
			c.URIs = []*url.URL{parsed}
		}
	}
	ip := func(text string) edit {
		return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(text)} }
	}
	email := func(text string) edit { return func(c *x509.Certificate) { c.EmailAddresses = []string{text} } }
	dns := func(text string) edit { return func(c *x509.Certificate) { c.DNSNames = []string{text} } }
	cn := func(text string) edit { return func(c *x509.Certificate) { c.Subject.CommonName = text } }
	subjectMail := func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "a@evil.com"}}
	}
	permitDNS := func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"corp"} }
	permitBelow := func(c *x509.Certificate) { c.PermittedDNSDomains = []string{".corp"} }
	excludeDNS := func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"secret.corp"} }
	permitIP := func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{network("10.0.0.0/8")} }
	excludeIP := func(c *x509.Certificate) {
		c.ExcludedIPRanges = []*net.IPNet{network("10.1.0.0/16"), network("fd00::/8")}
	}
	permitMail := func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"corp.example", "Boss@other.example"} }
	permitMailBelow := func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{".corp.example"} }
	excludeMail := func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"evil.com", "boss@other.example"} }
	permitURI := func(c *x509.Certificate) { c.PermittedURIDomains = []string{"corp.example"} }
	permitURIBelow := func(c *x509.Certificate) { c.PermittedURIDomains = []string{".corp.example"} }
	excludeURI := func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"evil.com"} }
	for name, test := range map[string]struct {
		constraint, name edit
		want             string // empty: allowed
	}{
		"issuer permits corp, leaf .com":   {permitDNS, dns("a.com"), "not permitted"},
		"below the permitted domain":       {permitDNS, dns("A.corp"), ""},
		"the permitted domain":             {permitDNS, dns("corp"), ""},
		"suffixes bind at a dot":           {permitDNS, dns("notcorp"), "not permitted"},
		"with a leading dot":               {permitBelow, dns("a.corp"), ""},
		"with a leading dot, itself":       {permitBelow, dns("corp"), "not permitted"},
		"wildcard inside":                  {permitDNS, dns("*.corp"), ""},
		"CN read as host name":             {permitDNS, cn("a.com"), "not permitted"},
		"CN that is no host name":          {permitDNS, cn("Alice A. Example"), ""},
		"other kinds are not constrained":  {permitDNS, ip("192.0.2.1"), ""},
		"excluded":                         {excludeDNS, dns("a.SECRET.corp"), "excluded"},
		"excluded itself":                  {excludeDNS, dns("secret.corp"), "excluded"},
		"wildcard over the excluded":       {excludeDNS, dns("*.corp"), "excluded"},
		"beside the excluded":              {excludeDNS, dns("public.corp"), ""},
		"IP inside":                        {permitIP, ip("10.2.3.4"), ""},
		"IP outside":                       {permitIP, ip("192.0.2.1"), "not permitted"},
		"IPv6 under an IPv4 constraint":    {permitIP, ip("fd00::1"), "not permitted"},
		"excluded IP range":                {excludeIP, ip("10.1.2.3"), "excluded"},
		"excluded IPv6 range":              {excludeIP, ip("fd00::1"), "excluded"},
		"beside the excluded IP range":     {excludeIP, ip("10.2.0.1"), ""},
		"mail at the host":                 {permitMail, email("a@Corp.example"), ""},
		"mail below the host":              {permitMail, email("a@sub.corp.example"), "not permitted"},
		"mail of the mailbox":              {permitMail, email("Boss@Other.example"), ""},
		"mail beside the mailbox":          {permitMail, email("clerk@other.example"), "not permitted"},
		"mail below the domain":            {permitMailBelow, email("a@sub.corp.example"), ""},
		"mail at the domain":               {permitMailBelow, email("a@corp.example"), "not permitted"},
		"mail in the subject":              {permitMail, subjectMail, "not permitted"},
		"mail excluded":                    {excludeMail, email("a@evil.com"), "excluded"},
		"mail excluded below":              {excludeMail, email("a@b.evil.com"), "excluded"},
		"mailbox excluded in another case": {excludeMail, email("BOSS@other.example"), "excluded"},
		"mail beside the excluded":         {excludeMail, email("a@good.com"), ""},
		"URI at the host":                  {permitURI, uri("https://corp.example:8443/a"), ""},
		"URI below the host":               {permitURI, uri("https://a.corp.example/"), "not permitted"},
		"URI below the domain":             {permitURIBelow, uri("spiffe://a.corp.example/x"), ""},
		"URI excluded":                     {excludeURI, uri("https://evil.com/"), "excluded"},
		"URI excluded below":               {excludeURI, uri("https://a.EVIL.com/"), "excluded"},
		"URI without host":                 {excludeURI, uri("urn:uuid:1"), "without a host name"},
		"URI with an IP":                   {permitURI, uri("https://10.0.0.1/"), "without a host name"},
		"URI beside the excluded":          {excludeURI, uri("https://good.com/"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for place, err := range map[string]error{
				"issuer": try(t, nil, test.constraint, with(leafTemplate(), test.name)),
				"root":   try(t, test.constraint, nil, with(leafTemplate(), test.name)),
			} {
				if test.want == "" {
					require.NoError(t, err, place)
					continue
				}
				require.ErrorContains(t, err, test.want, place)
				require.Equal(t, fault.Invalid, fault.KindOf(err), place)
			}
		})
	}
}

// nameConstraints encodes an extension with one permitted and one excluded subtree.
func nameConstraints(t testing.TB, permitted, excluded []byte) edit {
	t.Helper()
	list := func(tag int, base []byte) []byte {
		if base == nil {
			return nil
		}
		subtree, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: base})
		require.NoError(t, err)
		der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: subtree})
		require.NoError(t, err)
		return der
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: slices.Concat(list(0, permitted), list(1, excluded))})
	require.NoError(t, err)
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: value}}
	}
}

func directoryName(t testing.TB, name pkix.Name) []byte {
	t.Helper()
	der, err := asn1.Marshal(name.ToRDNSequence())
	require.NoError(t, err)
	tagged, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der})
	require.NoError(t, err)
	return tagged
}

func TestCA2_DirectoryNameConstraints(t *testing.T) {
	corp := directoryName(t, pkix.Name{Country: []string{"DE"}, Organization: []string{"Corp  Inc"}})
	permit, exclude := nameConstraints(t, corp, nil), nameConstraints(t, nil, corp)
	subject := func(name pkix.Name) *x509.Certificate {
		return with(leafTemplate("a.corp"), func(c *x509.Certificate) { c.Subject = name })
	}
	inside := pkix.Name{Country: []string{"DE"}, Organization: []string{"CORP Inc"}, CommonName: "a"}
	outside := pkix.Name{Country: []string{"DE"}, Organization: []string{"Other"}, CommonName: "a"}
	require.NoError(t, try(t, nil, permit, subject(inside)))
	require.ErrorContains(t, try(t, nil, permit, subject(outside)), "not permitted")
	require.ErrorContains(t, try(t, nil, permit, subject(pkix.Name{Country: []string{"DE"}})), "not permitted")
	require.ErrorContains(t, try(t, nil, exclude, subject(inside)), "excluded")
	require.NoError(t, try(t, nil, exclude, subject(outside)))
	require.NoError(t, try(t, nil, permit, leafTemplate("a.corp")), "an empty subject is no name")
}

func TestCA2_ConstraintsThatCannotBeJudged(t *testing.T) {
	upn, err := cert.MarshalSAN(cert.Names{Other: []cert.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", Value: "a@corp"}}}, true)
	require.NoError(t, err)
	registeredID := []byte{0x88, 2, 0x2a, 3}
	otherName := []byte{0xa0, 8, 0x06, 2, 0x2a, 3, 0xa0, 2, 0x0c, 0}
	withUPN := func() *x509.Certificate {
		return with(leafTemplate(), func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{upn} })
	}
	require.ErrorContains(t, try(t, nil, nameConstraints(t, otherName, nil), withUPN()), "otherName are constrained")
	require.ErrorContains(t, try(t, nil, nameConstraints(t, nil, otherName), withUPN()), "otherName are constrained")
	require.NoError(t, try(t, nil, nameConstraints(t, registeredID, nil), withUPN()))
	require.NoError(t, try(t, nil, nameConstraints(t, otherName, nil), leafTemplate("a.example")))

	minimum := append([]byte{0x82, 1, 'a'}, 0x80, 1, 1) // RFC 5280: minimum must be zero
	require.ErrorContains(t, try(t, nil, nameConstraints(t, minimum, nil), leafTemplate("a")), "ill-formed nameConstraints")
}

func TestCA2_PathLength(t *testing.T) {
	zero := func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }
	one := func(c *x509.Certificate) { c.MaxPathLen = 1 }
	two := func(c *x509.Certificate) { c.MaxPathLen = 2 }
	ca := func() *x509.Certificate {
		return with(caTemplate("Sub"), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(9) })
	}
	sameName := func() *x509.Certificate {
		return with(ca(), func(c *x509.Certificate) { c.Subject.CommonName = "Issuing" })
	}
	require.ErrorContains(t, try(t, nil, zero, ca()), "path length 0")
	require.ErrorContains(t, try(t, nil, zero, sameName()), "path length 0")
	require.ErrorContains(t, try(t, one, nil, ca()), "path length 1")
	require.ErrorContains(t, try(t, zero, nil, leafTemplate("a")), "path length 0")
	require.NoError(t, try(t, two, one, ca()))
	require.NoError(t, try(t, nil, nil, ca()))
	require.NoError(t, try(t, one, zero, leafTemplate("a")))
}

func TestCA2_ExtendedKeyUsageIsNested(t *testing.T) {
	usages := func(list ...x509.ExtKeyUsage) edit { return func(c *x509.Certificate) { c.ExtKeyUsage = list } }
	unknown := func(arcs ...int) edit {
		return func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{arcs} }
	}
	server, client, ocsp := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageOCSPSigning
	for name, test := range map[string]struct {
		ca, leaf edit
		fits     bool
	}{
		"same":               {usages(server), usages(server), true},
		"subset":             {usages(server, client), usages(client), true},
		"other":              {usages(server), usages(client), false},
		"one more":           {usages(server), usages(server, client), false},
		"any in the leaf":    {usages(server), usages(x509.ExtKeyUsageAny), false},
		"any in the CA":      {usages(x509.ExtKeyUsageAny), usages(client), true},
		"none in the CA":     {nil, usages(client), true},
		"none in the leaf":   {usages(server), nil, true},
		"unknown same":       {unknown(1, 2, 3), unknown(1, 2, 3), true},
		"unknown other":      {unknown(1, 2, 3), unknown(1, 2, 4), false},
		"unknown under TLS":  {usages(server), unknown(1, 2, 3), false},
		"responder":          {usages(server), usages(ocsp), true},
		"responder and more": {usages(server), usages(ocsp, client), false},
	} {
		leaf := leafTemplate("a")
		if test.leaf != nil {
			test.leaf(leaf)
		}
		for place, err := range map[string]error{"issuer": try(t, nil, test.ca, leaf), "root": try(t, test.ca, nil, leaf)} {
			if test.fits {
				require.NoError(t, err, "%s at %s", name, place)
			} else {
				require.Equal(t, "ext_key_usage", fault.FieldOfError(err), "%s at %s", name, place)
			}
		}
	}
	sub := with(caTemplate("Sub"), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(9); usages(ocsp)(c) })
	require.Error(t, try(t, nil, usages(server), sub), "the exemption is for responders only")
}

func TestCA2_Time1_Time2_ValidityInsideTheIssuer(t *testing.T) {
	late := with(leafTemplate("a"), func(c *x509.Certificate) { c.NotAfter = end.AddDate(0, 0, 1) })
	require.Equal(t, "not_after", fault.FieldOfError(try(t, nil, nil, late)))
	early := with(leafTemplate("a"), func(c *x509.Certificate) { c.NotBefore = start.AddDate(-10, 0, 0) })
	require.Equal(t, "not_before", fault.FieldOfError(try(t, nil, nil, early)))
	reversed := with(leafTemplate("a"), func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotAfter, c.NotBefore })
	require.Equal(t, "not_after", fault.FieldOfError(try(t, nil, nil, reversed)))
}

func TestCA2_CriticalExtensions(t *testing.T) {
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}
	want := "critical extension 1.2.3.4"
	require.ErrorContains(t, try(t, nil, critical, leafTemplate("a")), want)
	require.ErrorContains(t, try(t, critical, nil, leafTemplate("a")), want)
	require.ErrorContains(t, try(t, nil, nil, with(caTemplate("Sub"), critical)), want)
	require.NoError(t, try(t, nil, nil, with(leafTemplate("a"), critical)), "an end entity's are its profile's business")
}

func TestCA2_UnusableChainsRefuseEverything(t *testing.T) {
	parent, stranger := root(t, key(t, cert.P256), 0, nil), root(t, key(t, cert.P256), 0, nil)
	issuer := under(t, parent, nil)
	pub := key(t, cert.P256).Public()
	draft, err := issuer.Draft(leafTemplate("a"), pub)
	require.NoError(t, err)
	leaf, err := draft.Sign()
	require.NoError(t, err)
	for want, chain := range map[string][]*x509.Certificate{
		"no issuer":          nil,
		"did not sign":       {issuer.Certificate(), stranger.Certificate()},
		"must be a CA":       {leaf, issuer.Certificate()},
		"is not the chain's": {parent.Certificate()},
	} {
		_, err := issuer.Draft(leafTemplate("a"), pub, sign.WithinChain(chain))
		require.ErrorContains(t, err, want)
	}
	_, err = issuer.Draft(leafTemplate("a"), pub, sign.WithinChain([]*x509.Certificate{issuer.Certificate()}))
	require.NoError(t, err, "the root may be offline and unknown")
}

// Whatever this check lets pass, the standard library's verifier lets pass.
func TestCA2_NeverLaxerThanTheStandardLibrary(t *testing.T) {
	parent := root(t, key(t, cert.P256), 0, nil)
	pub := key(t, cert.P256).Public()
	domains := []string{"corp", ".corp", "a.corp", "a.b.corp", "example.com", ".com"}
	names := []string{"corp", "a.corp", "b.corp", "x.a.corp", "*.corp", "*.a.corp", "*.b.corp", "a.b.corp", "example.com", "a.example.com", "acorp", "com"}
	ranges := []*net.IPNet{network("10.0.0.0/8"), network("10.1.0.0/16"), network("fd00::/8"), network("0.0.0.0/0")}
	addresses := []net.IP{net.ParseIP("10.0.0.1"), net.ParseIP("10.1.0.1"), net.ParseIP("192.0.2.1"), net.ParseIP("fd00::1")}
	accepted := 0
	rapid.Check(t, func(r *rapid.T) {
		some := func(label string, from []string) []string {
			return rapid.SliceOfN(rapid.SampledFrom(from), 0, 2).Draw(r, label)
		}
		nets := func(label string) []*net.IPNet { return rapid.SliceOfN(rapid.SampledFrom(ranges), 0, 2).Draw(r, label) }
		issuer := under(t, parent, func(c *x509.Certificate) {
			c.PermittedDNSDomains, c.ExcludedDNSDomains = some("permitted", domains), some("excluded", domains)
			c.PermittedEmailAddresses, c.ExcludedEmailAddresses = some("permitted mail", domains), some("excluded mail", append(domains, "u@corp"))
			c.PermittedURIDomains, c.ExcludedURIDomains = some("permitted URI", domains), some("excluded URI", domains)
			c.PermittedIPRanges, c.ExcludedIPRanges = nets("permitted IP"), nets("excluded IP")
		})
		template := leafTemplate(some("names", names)...)
		template.IPAddresses = rapid.SliceOfN(rapid.SampledFrom(addresses), 0, 1).Draw(r, "addresses")
		for _, host := range some("mail", names[:3]) {
			template.EmailAddresses = append(template.EmailAddresses, "u@"+host)
		}
		for _, host := range some("URI", names[:3]) {
			template.URIs = append(template.URIs, &url.URL{Scheme: "https", Host: host})
		}
		draft, err := issuer.Draft(template, pub, sign.WithinChain([]*x509.Certificate{issuer.Certificate(), parent.Certificate()}))
		if err != nil {
			return
		}
		accepted++
		leaf, err := draft.Sign()
		require.NoError(r, err)
		roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(parent.Certificate())
		intermediates.AddCert(issuer.Certificate())
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: start.AddDate(0, 1, 0), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(r, err)
	})
	require.NotZero(t, accepted, "a test that accepts nothing proves nothing")
}

func BenchmarkWithinChain(b *testing.B) {
	parent := root(b, key(b, cert.P384), 0, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"corp"} })
	issuer := under(b, parent, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"secret.corp"} })
	draft, err := issuer.Draft(leafTemplate("a.corp"), key(b, cert.P256).Public())
	require.NoError(b, err)
	check := sign.WithinChain([]*x509.Certificate{issuer.Certificate(), parent.Certificate()})
	b.ReportAllocs()
	for b.Loop() {
		if err := check(draft.Certificate(), issuer.Certificate()); err != nil {
			b.Fatal(err)
		}
	}
}
