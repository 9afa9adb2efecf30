package crl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// offline is a CA whose key is not in the mount.
type offline struct{ ca }

// list signs a CRL as other people's software does.
func (o offline) list(t testing.TB, number int64, edit ...func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: noon.Add(-time.Hour), NextUpdate: noon.Add(99 * time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(77), RevocationTime: noon.AddDate(0, -1, 0), ReasonCode: 2}},
	}
	for _, change := range edit {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, o.Certificate(), o.key)
	require.NoError(t, err)
	return der
}

func extended(oid []int, critical bool, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: critical, Value: value}}
	}
}

// importMount has an issuer, "offline", that does not sign here.
func importMount(t testing.TB, now *clock) (*mount, offline) {
	m := newMount(t, now.Now)
	return m, offline{newCA(t, algorithms[0])}
}

func TestImport_IsServedLikeAnyList(t *testing.T) {
	now := &clock{now: noon}
	m, root := importMount(t, now)
	der := root.list(t, 3)
	head, err := m.Import(t.Context(), "offline", root.Certificate(), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	require.NoError(t, err)
	require.True(t, head.Imported)
	require.Equal(t, int64(3), head.Number)
	require.Equal(t, 1, head.Entries)
	for _, s := range []*crl.Service{m.Service, m.restart(m.store)} {
		read, same, err := s.Get(t.Context(), "offline")
		require.NoError(t, err)
		require.Equal(t, der, read)
		require.Equal(t, head, same)
		heads, err := s.Heads(t.Context(), "offline")
		require.NoError(t, err)
		require.Len(t, heads, 1)
	}
	whole(t, m.store)
	m.store.Reset()
	again, err := m.Import(t.Context(), "offline", root.Certificate(), der)
	require.NoError(t, err)
	require.Equal(t, head, again)
	require.Zero(t, m.store.Counts().Total(), "the same list changes nothing")

	for name, number := range map[string]int64{"lower": 2, "the same on another list": 3} {
		_, err = m.Import(t.Context(), "offline", root.Certificate(), root.list(t, number, func(l *x509.RevocationList) { l.NextUpdate = noon.Add(200 * time.Hour) }))
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", name, err)
	}
	_, err = m.Import(t.Context(), "offline", root.Certificate(), root.list(t, 4))
	require.NoError(t, err)
	require.Len(t, m.store.Dump(), 2, "one head, one body")
	require.NoError(t, m.Forget(t.Context(), "offline"))
	require.Empty(t, m.store.Dump())
}

func TestImport_Refusals(t *testing.T) {
	m, root := importMount(t, &clock{now: noon})
	other := offline{newCA(t, algorithms[0])}
	stranger := offline{newCA(t, algorithms[0], func(c *x509.Certificate) { c.RawSubject = nil; c.Subject = pkix.Name{CommonName: "other"} })}
	good := root.list(t, 3)
	delta, err := x509.ParseRevocationList(root.list(t, 3, extended([]int{2, 5, 29, 27}, true, []byte{2, 1, 2})))
	require.NoError(t, err)
	for name, raw := range map[string][]byte{
		"nothing":                          nil,
		"not a CRL":                        []byte("text"),
		"a certificate":                    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate().Raw}),
		"two blocks":                       bytes.Repeat(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: good}), 2),
		"trailing octets":                  append(bytes.Clone(good), 0),
		"a changed octet":                  append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
		"another key, same name":           other.list(t, 3),
		"another name":                     stranger.list(t, 3),
		"too long":                         make([]byte, crl.MaxImport+1),
		"ended":                            root.list(t, 3, func(l *x509.RevocationList) { l.NextUpdate = noon }),
		"in the future":                    root.list(t, 3, func(l *x509.RevocationList) { l.ThisUpdate = noon.Add(time.Hour) }),
		"a number without room for others": root.list(t, 0, func(l *x509.RevocationList) { l.Number = new(big.Int).Sub(power(159), big.NewInt(1<<32)) }),
		"a delta":                          delta.Raw,
		"an indirect CRL":                  root.list(t, 3, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 3, 0x84, 1, 0xff})),
		"some reasons only":                root.list(t, 3, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 4, 0x83, 2, 6, 0x40})),
		"attribute certificates":           root.list(t, 3, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 3, 0x85, 1, 0xff})),
		"unknown and critical":             root.list(t, 3, extended([]int{1, 3, 6, 1, 4, 1, 99999, 1}, true, []byte{5, 0})),
		"a critical entry, as of an indirect CRL": root.list(t, 3, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}
		}),
	} {
		_, err := m.Import(t.Context(), "offline", root.Certificate(), raw)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", name, err)
		require.Equal(t, "crl", fault.FieldOfError(err), name)
	}
	require.Empty(t, m.store.Dump())
	_, err = m.Import(t.Context(), "offline", root.Certificate(), root.list(t, 3, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 3, 0x82, 1, 0xff})))
	require.NoError(t, err, "of CA certificates only, as an offline root's is")
}

func power(bits uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), bits) }

// CRL numbers are read up to 20 octets and from 0 (RFC 5280 section 5.2.3). Edges go by
// the number of the edition, which JSON holds exactly and which always grows.
func TestImport_NumbersOfUpToTwentyOctets(t *testing.T) {
	m, root := importMount(t, &clock{now: noon})
	numbered := func(n *big.Int) []byte {
		return root.list(t, 0, func(l *x509.RevocationList) { l.Number = n })
	}
	var last crl.Head
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(noon.Unix() + 100), power(60), power(63), power(64), power(151), power(158)} {
		der := numbered(n)
		head, err := m.Import(t.Context(), "offline", root.Certificate(), der)
		require.NoError(t, err, n)
		require.Equal(t, n.String(), head.CRLNumber().String())
		require.Greater(t, head.Number, last.Number, n)
		require.LessOrEqual(t, head.Number, int64(1<<53-1), n)
		whole(t, m.store)
		again, err := m.Import(t.Context(), "offline", root.Certificate(), der)
		require.NoError(t, err)
		require.Equal(t, head, again, "the same list changes nothing")
		for _, s := range []*crl.Service{m.Service, m.restart(m.store)} {
			read, same, err := s.Get(t.Context(), "offline")
			require.NoError(t, err)
			require.Equal(t, der, read)
			require.Equal(t, head.CRLNumber(), same.CRLNumber())
		}
		last = head
	}
	_, err := m.Import(t.Context(), "offline", root.Certificate(), numbered(new(big.Int).Sub(power(158), big.NewInt(1))))
	require.True(t, fault.Is(err, fault.Conflict), err)
	require.ErrorContains(t, err, power(158).String())
}

// A CA whose key comes to the mount goes on with the numbers of its imported list, also
// after a restart.
func TestImport_NumbersGoOnWhenListsAreMadeHere(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	_, err := m.Import(t.Context(), "root", m.ca.Certificate(), offline{m.ca}.list(t, 0, func(l *x509.RevocationList) { l.Number = power(70) }))
	require.NoError(t, err)
	expected := power(70)
	for _, s := range []*crl.Service{m.Service, m.restart(m.store), m.restart(m.store)} {
		head, err := s.Rebuild(t.Context(), "root")
		require.NoError(t, err)
		require.Equal(t, expected.Add(expected, big.NewInt(1)).String(), head.CRLNumber().String())
		der, _, err := s.Get(t.Context(), "root")
		require.NoError(t, err)
		list, err := x509.ParseRevocationList(der)
		require.NoError(t, err)
		require.Equal(t, expected.String(), list.Number.String())
		whole(t, m.store)
	}
}

func TestImport_IsWatched(t *testing.T) {
	now := &clock{now: noon}
	m, root := importMount(t, now)
	var log bytes.Buffer
	s := crl.New(crl.Config{Store: m.store, Ledger: m.ledger, Source: m.source, Now: now.Now, Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})})
	defer s.Close()
	require.NoError(t, s.Tick(t.Context()))
	_, err := s.Import(t.Context(), "offline", root.Certificate(), root.list(t, 3))
	require.NoError(t, err)
	says := func(s *crl.Service) string {
		alarm, err := s.Alarm(t.Context(), "offline")
		require.NoError(t, err)
		return alarm
	}
	now.move(49*time.Hour - time.Second) // of a life of 100 hours, of which one is over
	require.NoError(t, s.Tick(t.Context()))
	require.Empty(t, says(s))
	require.Empty(t, log.String())
	now.move(time.Second)
	for range 3 {
		require.NoError(t, s.Tick(t.Context()))
	}
	require.Contains(t, says(s), "CRL 3 ends at 2026-03-05T15:00:00Z")
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("[WARN]")), "%s", &log)
	require.Contains(t, log.String(), "issuer=offline")
	now.move(50 * time.Hour)
	require.NoError(t, s.Tick(t.Context()))
	require.Contains(t, says(s), "has ended")
	require.Equal(t, 2, bytes.Count(log.Bytes(), []byte("[WARN]")))

	next := m.restart(m.store)
	defer next.Close()
	require.NoError(t, next.Tick(t.Context()))
	require.Contains(t, says(next), "has ended", "the next process watches too")
	_, err = s.Import(t.Context(), "offline", root.Certificate(), root.list(t, 4, func(l *x509.RevocationList) { l.NextUpdate = noon.AddDate(1, 0, 0) }))
	require.NoError(t, err)
	require.Empty(t, says(s))
}

// A list that is made here is renewed long before; if not, the issuer says so.
func TestAlarm_OfAListThatIsNotRenewed(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.rebuild(t)
	for after, alarm := range map[time.Duration]bool{53 * time.Hour: false, 54 * time.Hour: true, 73 * time.Hour: true} {
		now.move(after)
		says, err := m.Alarm(t.Context(), "root")
		require.NoError(t, err)
		require.Equal(t, alarm, says != "", "%s", after)
		now.move(-after)
	}
}

func TestCrash1_ImportIsAllOrNothing(t *testing.T) {
	m, root := importMount(t, &clock{now: noon})
	_, err := m.Import(t.Context(), "offline", root.Certificate(), root.list(t, 3))
	require.NoError(t, err)
	der := root.list(t, 4)
	failed := 0
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := m.store.Clone()
			s := m.restart(store)
			store.Break(n, loss)
			_, _ = s.Import(t.Context(), "offline", root.Certificate(), der)
			s.Close()
			broke := store.Broken()
			whole(t, store)
			next := m.restart(store)
			_, err := next.Import(t.Context(), "offline", root.Certificate(), der)
			require.NoError(t, err)
			read, _, err := next.Get(t.Context(), "offline")
			require.NoError(t, err)
			require.Equal(t, der, read)
			whole(t, store)
			next.Close()
			if !broke {
				break
			}
			failed++
		}
	}
	require.GreaterOrEqual(t, failed, 2*4)
}

// FuzzParseImported looks for panics, and for a list that is accepted although its
// signature is not that of the CA.
func FuzzParseImported(f *testing.F) {
	root := offline{newCA(f, algorithms[0])}
	f.Add(root.list(f, 3))
	f.Add(root.list(f, 4, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 3, 0x82, 1, 0xff})))
	f.Add(root.list(f, 4, extended([]int{2, 5, 29, 28}, true, []byte{0x30, 0x80})))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: root.list(f, 5)}))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := crl.ParseImported(raw, root.Certificate(), noon)
		if err != nil {
			return
		}
		require.NoError(t, list.CheckSignatureFrom(root.Certificate()))
		require.True(t, list.NextUpdate.After(noon))
	})
}
