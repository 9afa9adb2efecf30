package attack_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// allocated returns the bytes that the work allocated in total.
func allocated(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// refusal sends a request past the JSON of the test and returns what became of it.
func refusal(t *testing.T, m *pathstest.Mount, path string, data map[string]any) int {
	t.Helper()
	req := &logical.Request{Operation: logical.UpdateOperation, Path: path, Data: data, Storage: m.Storage}
	response, err := m.Backend().HandleRequest(context.Background(), req)
	status, cause := logical.RespondErrorCommon(req, response, err)
	logical.AdjustErrorStatusCode(&status, cause)
	return status
}

// deep returns DER nested as often as the octets allow.
func deep(size int) []byte {
	der := make([]byte, 0, size+8)
	lengths := [][]byte{}
	for inner := 0; inner < size-4; {
		var header []byte
		switch {
		case inner < 0x80:
			header = []byte{0x30, byte(inner)}
		case inner < 0x100:
			header = []byte{0x30, 0x81, byte(inner)}
		default:
			header = []byte{0x30, 0x82, byte(inner >> 8), byte(inner)}
		}
		lengths = append(lengths, header)
		inner += len(header)
	}
	for at := len(lengths) - 1; at >= 0; at-- {
		der = append(der, lengths[at]...)
	}
	return der
}

func TestDos1_CapsHoldBeforeAnythingIsRead(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/any", anyKey).Expect(http.StatusOK)
	names := make([]any, 100_000)
	for at := range names {
		names[at] = fmt.Sprintf("h%d.example.com", at)
	}
	short := make([]byte, 0, 60000) // as many names as a request of the largest size can hold
	for len(short) < 60000 {
		short = append(short, 0x82, 1, 'a')
	}
	inSAN := func(value []byte) string {
		return rawRequest(t, newKey(t), nil, attribute(oidExtensionRequest, extensionList([]int{2, 5, 29, 17}, value)))
	}
	sequence := func(content []byte) []byte {
		return bytesOf(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		})
	}
	big16k, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 16384))
	require.NoError(t, err)
	huge := new(big.Int).SetBit(big16k.SetBit(big16k, 0, 1), 16383, 1)
	ten := strings.Repeat("A", 10<<20)
	big := map[string]any{"a": strings.Repeat("x", 1025)}
	manyKeys := map[string]any{}
	for at := range 65 {
		manyKeys[fmt.Sprint(at)] = "x"
	}
	rows := make([]any, 257)
	for at := range rows {
		rows[at] = map[string]any{"csr": "x"}
	}
	var nested any = "x"
	for range 10_000 {
		nested = []any{nested}
	}
	name := func(more map[string]any) map[string]any {
		more["common_name"] = "a.example.com"
		return more
	}
	for what, c := range map[string]struct {
		path string
		data map[string]any
	}{
		"10 MB CSR":                {"sign/any", map[string]any{"csr": ten}},
		"65 KiB CSR":               {"sign/any", map[string]any{"csr": ten[:65<<10]}},
		"10 MB simulated":          {"roles/any/simulate", map[string]any{"csr": ten}},
		"100,000 names in a list":  {"issue/any", name(map[string]any{"alt_names": names})},
		"100,000 names in a text":  {"issue/any", name(map[string]any{"alt_names": strings.Repeat("a.example.com,", 100_000)})},
		"100,000 addresses":        {"issue/any", name(map[string]any{"ip_sans": names})},
		"1,001 URIs":               {"issue/any", name(map[string]any{"uri_sans": names[:1001]})},
		"names of all kinds":       {"issue/any", name(map[string]any{"uri_sans": names[:600], "ip_sans": names[:600]})},
		"20,000 names in a CSR":    {"sign/any", map[string]any{"csr": inSAN(sequence(short[:45000]))}},
		"nested names":             {"sign/any", map[string]any{"csr": inSAN(deep(45000))}},
		"nested attribute":         {"sign/any", map[string]any{"csr": rawRequest(t, newKey(t), nil, attribute(oidExtensionRequest, func(b *cryptobyte.Builder) { b.AddBytes(deep(45000)) }))}},
		"nested request":           {"sign/any", map[string]any{"csr": encode("CERTIFICATE REQUEST", deep(45000))}},
		"many attributes":          {"sign/any", map[string]any{"csr": rawRequest(t, newKey(t), nil, manyAttributes)}},
		"many extensions":          {"sign/any", map[string]any{"csr": rawRequest(t, newKey(t), nil, attribute(oidExtensionRequest, manyExtensions))}},
		"RSA-16384":                {"sign/any", map[string]any{"csr": rawRSA(t, huge, 65537)}},
		"RSA-16384 to a CA":        {"root/sign-intermediate", map[string]any{"csr": rawRSA(t, huge, 65537), "common_name": "x"}},
		"10 MB bundle":             {"issuers/import/bundle", map[string]any{"pem_bundle": ten}},
		"10 MB certificate":        {"revoke", map[string]any{"certificate": ten}},
		"10 MB key":                {"keys/import", map[string]any{"pem_bundle": ten}},
		"10 MB key to revoke":      {"revoke-with-key", map[string]any{"serial_number": "01", "private_key": ten}},
		"RSA-16384 private key":    {"keys/import", map[string]any{"pem_bundle": hugeKey(t, huge)}},
		"257 requests":             {"sign/any/batch", map[string]any{"requests": rows}},
		"17 MB batch":              {"sign/any/batch", map[string]any{"requests": []any{map[string]any{"csr": ten}, map[string]any{"csr": ten}}}},
		"metadata of 65 keys":      {"issue/any", name(map[string]any{"metadata": manyKeys})},
		"metadata of 1,025 octets": {"issue/any", name(map[string]any{"metadata": big})},
		"metadata, nested":         {"issue/any", name(map[string]any{"metadata": nested})},
		"17 contacts":              {"issue/any", name(map[string]any{"contacts": names[:17]})},
		"unknown fields":           {"issue/any", manyKeys},
		"a name of 10 MB":          {"issue/any", map[string]any{"common_name": ten}},
		"an address of 10 MB":      {"issue/any", name(map[string]any{"ip_sans": []any{ten}})},
		"1,001 domains":            {"roles/x", map[string]any{"allowed_domains": names[:1001]}},
		"a URL of 10 MB":           {"config/urls", map[string]any{"ocsp_servers": ten}},
	} {
		t.Run(what, func(t *testing.T) {
			status := 0
			cost := allocated(func() { status = refusal(t, m, c.path, c.data) })
			require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, status)
			require.Less(t, cost, uint64(3<<20), "bytes allocated to refuse it")
		})
	}
}

func manyAttributes(b *cryptobyte.Builder) {
	for at := range 2000 {
		attribute([]int{1, 2, 3, at}, func(b *cryptobyte.Builder) { b.AddASN1Int64(1) })(b)
	}
}

func manyExtensions(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for at := range 2000 {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier([]int{1, 2, 3, at})
				b.AddASN1OctetString([]byte{5, 0})
			})
		}
	})
}

// hugeKey returns a private key in PKCS#1 whose numbers are as large as they look and
// prove nothing.
func hugeKey(t *testing.T, n *big.Int) string {
	t.Helper()
	return encode("RSA PRIVATE KEY", bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddASN1BigInt(n)
			b.AddASN1Int64(65537)
			for range 6 {
				b.AddASN1BigInt(n)
			}
		})
	}))
}

// Paths without a token: what a thousand requests cost the storage, and what stays.
func TestDos2_PublicPathsDoBoundedWork(t *testing.T) {
	m := pathstest.InProcess(t)
	storage := m.Count(t)
	root := withRoot(t, m)
	leaf := open(t, m, "web", body{"common_name": "a.example.com"})
	random := func(octets int) string {
		raw := make([]byte, octets)
		_, _ = rand.Read(raw)
		raw[0] |= 1
		return hex.EncodeToString(raw)
	}
	query := func(serial *big.Int) string {
		request, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial, RawIssuer: root.RawSubject}, root, nil)
		require.NoError(t, err)
		return base64.URLEncoding.EncodeToString(request)
	}
	number := func() *big.Int { n, _ := new(big.Int).SetString(random(19), 16); return n }
	known := serialOf(leaf)
	for what, c := range map[string]struct {
		gets int64 // most for one request
		path func() string
	}{
		"ca":                  {0, func() string { return "ca" }},
		"ca in PEM":           {0, func() string { return "ca/pem" }},
		"chain":               {0, func() string { return "ca_chain" }},
		"chain as JSON":       {0, func() string { return "cert/ca_chain" }},
		"crl":                 {0, func() string { return "crl" }},
		"crl in PEM":          {0, func() string { return "crl/pem" }},
		"crl as JSON":         {0, func() string { return "cert/crl" }},
		"issuer's crl":        {0, func() string { return "issuer/root/crl" }},
		"issuer":              {0, func() string { return "issuer/root/json" }},
		"unknown issuer":      {0, func() string { return "issuer/" + random(16) + "/pem" }},
		"unknown issuer, crl": {0, func() string { return "issuer/" + random(16) + "/crl" }},
		"bad issuer":          {0, func() string { return "issuer/" + random(2000) + "/der" }},
		"certificate":         {1, func() string { return "cert/" + known }},
		"unknown certificate": {1, func() string { return "cert/" + random(20) }},
		"bad serial":          {0, func() string { return "cert/" + random(30) }},
		"raw certificate":     {1, func() string { return "cert/" + known + "/raw/pem" }},
		"ocsp":                {0, func() string { return "ocsp/" + query(leaf.SerialNumber) }},
		"ocsp, never issued":  {0, func() string { return "ocsp/" + query(number()) }},
		"ocsp, malformed":     {0, func() string { return "ocsp/" + random(100) }},
		"ocsp, unknown CA":    {0, func() string { return "ocsp/" + base64.URLEncoding.EncodeToString([]byte(random(60))) }},
	} {
		t.Run(what, func(t *testing.T) {
			const requests = 1000
			m.Read(t, c.path(), nil)
			heap := heapInUse()
			storage.Settle(t)
			storage.Reset()
			for range requests {
				m.Read(t, c.path(), nil)
			}
			require.LessOrEqual(t, storage.Gets.Load(), c.gets*requests)
			require.Zero(t, storage.Puts.Load())
			require.Zero(t, storage.Lists.Load())
			require.Zero(t, storage.Deletes.Load())
			require.Less(t, int64(heapInUse())-int64(heap), int64(2<<20), "bytes that stay after a thousand requests")
		})
	}
}

func heapInUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Answers with a nonce are signed each time and kept never.
func TestDos2_NoncesFillNoCache(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	leaf := open(t, m, "web", body{"common_name": "a.example.com"})
	request, err := ocsp.CreateRequest(leaf, root, nil)
	require.NoError(t, err)
	input := cryptobyte.String(request)
	var whole, tbs cryptobyte.String
	require.True(t, input.ReadASN1(&whole, cbasn1.SEQUENCE) && whole.ReadASN1(&tbs, cbasn1.SEQUENCE))
	nonced := func() []byte {
		nonce := make([]byte, 128)
		_, _ = rand.Read(nonce)
		return bytesOf(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddBytes(tbs)
					b.AddASN1(cbasn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
								b.AddASN1ObjectIdentifier([]int{1, 3, 6, 1, 5, 5, 7, 48, 1, 2})
								b.AddASN1OctetString(bytesOf(t, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) }))
							})
						})
					})
				})
			})
		})
	}
	askRaw(t, m, nonced())
	heap := heapInUse()
	for range 1000 {
		response, err := ocsp.ParseResponse(askRaw(t, m, nonced()), nil)
		require.NoError(t, err)
		require.Equal(t, ocsp.Good, response.Status)
	}
	require.Less(t, int64(heapInUse())-int64(heap), int64(1<<20))
}

// A key of the largest size that is taken is proven and signed without trouble.
func TestDos1_TheLargestKeyIsStillTaken(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/any", anyKey).Expect(http.StatusOK)
	leaf := open(t, m, "any", body{"csr": opensslCSR(t, []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"})})
	require.Equal(t, 4096, leaf.PublicKey.(*rsa.PublicKey).N.BitLen())
}
