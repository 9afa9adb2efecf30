package edge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/publish"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// authority is a CA with a complete and a delta list.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Servers"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate, key}
}

func (a authority) list(t testing.TB, number int64, entries int) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for i := range entries {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i) + 7), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	require.NoError(t, err)
	return der
}

// mount says what is to be published and hears what became of it.
type mount struct {
	ca      authority
	lists   map[string][]byte // by kind
	reports chan feed.ReportItem

	mu        sync.Mutex
	publisher feed.Publisher
	changed   chan struct{}
}

func (m *mount) Manifest() (*feed.Manifest, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	issuer := feed.Issuer{ID: "1111", Name: "Servers, \"first\"", Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.ca.certificate.Raw}))}
	for kind, content := range m.lists {
		parsed, err := x509.ParseRevocationList(content)
		if err != nil {
			return nil, m.changed
		}
		list := feed.List{Kind: kind, Number: parsed.Number.Int64(), SHA256: digest(content)}
		if strings.Contains(kind, "-") {
			list.Kind, list.Shard = string(feed.Shard), kind
		}
		issuer.Lists = append(issuer.Lists, list)
	}
	return &feed.Manifest{Issuers: []feed.Issuer{issuer}, Publishers: []feed.Publisher{m.publisher}}, m.changed
}

func (m *mount) List(wanted string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, content := range m.lists {
		if digest(content) == wanted {
			return content, nil
		}
	}
	return nil, errors.New("no such list")
}

func (m *mount) Report(_ context.Context, _ string, items []feed.ReportItem) error {
	for _, item := range items {
		m.reports <- item
	}
	return nil
}

func (m *mount) set(kind string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists[kind] = content
	close(m.changed)
	m.changed = make(chan struct{})
}

// next waits for reports about these items and returns what they say.
func (m *mount) next(t testing.TB, lists ...string) map[string]feed.ReportItem {
	t.Helper()
	heard := map[string]feed.ReportItem{}
	for len(heard) < len(lists) {
		item := wait.Receive(t, "reports about each of "+strings.Join(lists, ", "), m.reports)
		if slices.Contains(lists, item.List) {
			heard[item.List] = item
		}
	}
	return heard
}

// arrive waits for successful reports about these items.
func (m *mount) arrive(t testing.TB, lists ...string) {
	t.Helper()
	for list, item := range m.next(t, lists...) {
		require.Empty(t, item.Error, list)
	}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// publishTo starts a publisher of a CA's certificate and two lists.
func publishTo(t testing.TB, publisher feed.Publisher, server daemon, credential config.Credential) *mount {
	t.Helper()
	trusted, err := os.ReadFile(server.ca)
	require.NoError(t, err)
	publisher.Name, publisher.CACertificates = "test", []string{string(trusted)}
	if publisher.Publish == nil {
		publisher.Publish = []string{"complete", "delta", "certificate"}
	}
	m := &mount{ca: newAuthority(t), lists: map[string][]byte{}, publisher: publisher, changed: make(chan struct{}), reports: make(chan feed.ReportItem, 100)}
	// Several hundred kilobytes: more than fits into one packet or buffer.
	m.lists["complete"], m.lists["delta"] = m.ca.list(t, 5, 20_000), m.ca.list(t, 6, 1)
	m.run(t, credential)
	return m
}

// run starts what an edge publishes with; twice, it is as two edges.
func (m *mount) run(t testing.TB, credential config.Credential) {
	t.Helper()
	service := publish.New(publish.Config{
		Source: m, Reporter: m, Credentials: map[string]config.Credential{"here": credential}, Now: time.Now, Log: hclog.NewNullLogger(),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { service.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// attribute reads the values of an attribute as ldapsearch prints them; none when
// there is no such entry.
func (d daemon) attribute(t testing.TB, entry, name string) [][]byte {
	t.Helper()
	var values [][]byte
	said, _ := d.tryLDAP(t, "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", entry, name)
	for line := range strings.Lines(said) {
		if value, ok := strings.CutPrefix(line, name+":: "); ok {
			decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
			require.NoError(t, err)
			values = append(values, decoded)
		}
	}
	return values
}

func TestPublishToOpenLDAP(t *testing.T) {
	slapd, encrypted := startSlapd(t)
	password := config.Credential{Username: admin, PasswordFile: writeFile(t, filepath.Join(slapd.dir, "password"), adminSecret), Hosts: []string{"localhost"}}
	client := config.Credential{CertificateFile: filepath.Join(slapd.dir, "edge.pem"), KeyFile: filepath.Join(slapd.dir, "edge.key"), Hosts: []string{"localhost"}}
	existing := "ou=existing,ou=pki," + suffix
	slapd.ldap(t, "ldapadd", "-f", writeFile(t, filepath.Join(slapd.dir, "existing.ldif"), "dn: "+existing+"\nobjectClass: organizationalUnit\n"))
	ldapURL, ldapsURL := "ldap://localhost:"+port(t, slapd.address), "ldaps://localhost:"+port(t, encrypted)
	for name, row := range map[string]struct {
		url        string
		ldap       feed.PublisherLDAP
		credential config.Credential
		entry      string
	}{
		"StartTLS and a password, a new entry":         {ldapURL, feed.PublisherLDAP{StartTLS: true, BaseDN: "cn={{issuer_name}},ou=pki," + suffix}, password, `cn=Servers\, \"first\",ou=pki,` + suffix},
		"ldaps and a certificate, a new entry":         {ldapsURL, feed.PublisherLDAP{BaseDN: "cn={{issuer_id}},ou=pki," + suffix}, client, "cn=1111,ou=pki," + suffix},
		"ldaps and a password, a new unit":             {ldapsURL, feed.PublisherLDAP{BaseDN: "ou={{issuer_id}},ou=pki," + suffix}, password, "ou=1111,ou=pki," + suffix},
		"ldaps and a password, an entry that is there": {ldapsURL, feed.PublisherLDAP{BaseDN: existing}, password, existing},
	} {
		t.Run(name, func(t *testing.T) {
			m := publishTo(t, feed.Publisher{Type: "ldap", URL: row.url, LDAP: row.ldap, Credential: "here"}, slapd, row.credential)
			m.arrive(t, "complete", "delta", "certificate")
			for attribute, want := range map[string][]byte{
				"certificateRevocationList;binary": m.lists["complete"], "deltaRevocationList;binary": m.lists["delta"], "cACertificate;binary": m.ca.certificate.Raw,
			} {
				require.Equal(t, [][]byte{want}, slapd.attribute(t, row.entry, attribute), attribute)
			}
			newer := m.ca.list(t, 15, 3)
			m.set("complete", newer)
			m.arrive(t, "complete")
			require.Equal(t, [][]byte{newer}, slapd.attribute(t, row.entry, "certificateRevocationList;binary"))

			// Another edge that starts finds everything in place and writes nothing.
			change := func() string { return slapd.ldap(t, "ldapsearch", "-LLL", "-s", "base", "-b", row.entry, "entryCSN") }
			before := change()
			m.run(t, row.credential)
			m.arrive(t, "complete", "delta", "certificate")
			require.Equal(t, before, change())
		})
	}
}

// A shard has the attribute of the complete list, so each has an entry of its own.
func TestPublishShardsToOpenLDAP(t *testing.T) {
	slapd, encrypted := startSlapd(t)
	password := config.Credential{Username: admin, PasswordFile: writeFile(t, filepath.Join(slapd.dir, "password"), adminSecret), Hosts: []string{"localhost"}}
	m := publishTo(t, feed.Publisher{
		Type: "ldap", URL: "ldaps://localhost:" + port(t, encrypted), Publish: []string{"complete", "shards"},
		LDAP: feed.PublisherLDAP{BaseDN: "cn={{issuer_id}}-{{list}},ou=pki," + suffix}, Credential: "here",
	}, slapd, password)
	m.set("2-0", m.ca.list(t, 5, 2))
	m.set("2-1", m.ca.list(t, 5, 3))
	m.arrive(t, "complete", "2-0", "2-1")
	for list, content := range m.lists {
		if list != "delta" {
			require.Equal(t, [][]byte{content}, slapd.attribute(t, "cn=1111-"+list+",ou=pki,"+suffix, "certificateRevocationList;binary"), list)
		}
	}
}

func TestLDAPRefusalsSayWhatToDo(t *testing.T) {
	slapd, _ := startSlapd(t)
	url := "ldap://localhost:" + port(t, slapd.address)
	password := config.Credential{Username: admin, PasswordFile: writeFile(t, filepath.Join(slapd.dir, "password"), adminSecret), Hosts: []string{"localhost"}}
	wrong := password
	wrong.PasswordFile = writeFile(t, filepath.Join(slapd.dir, "wrong"), "wrong")
	for name, row := range map[string]struct {
		ldap       feed.PublisherLDAP
		credential config.Credential
		want       string
	}{
		"a password in the clear": {feed.PublisherLDAP{BaseDN: "cn=x,ou=pki," + suffix}, password, "over TLS only"},
		"a wrong password":        {feed.PublisherLDAP{StartTLS: true, BaseDN: "cn={{list}},ou=pki," + suffix}, wrong, "Invalid Credentials"},
		"no entry above":          {feed.PublisherLDAP{StartTLS: true, BaseDN: "cn={{list}},ou=nowhere," + suffix}, password, "the entry above it does not exist"},
		"no distinguished name":   {feed.PublisherLDAP{StartTLS: true, BaseDN: "{{list}}"}, password, "is no distinguished name"},
		"another naming":          {feed.PublisherLDAP{StartTLS: true, BaseDN: "serialNumber={{list}},ou=pki," + suffix}, password, "only entries named by cn, ou or o"},
	} {
		t.Run(name, func(t *testing.T) {
			m := publishTo(t, feed.Publisher{Type: "ldap", URL: url, LDAP: row.ldap, Credential: "here"}, slapd, row.credential)
			why := m.next(t, "complete")["complete"].Error
			require.Contains(t, why, row.want)
			require.NotContains(t, why, adminSecret)
		})
	}
	t.Run("an unknown server", func(t *testing.T) {
		stranger := slapd
		stranger.ca = filepath.Join(slapd.dir, "edge.pem")
		m := publishTo(t, feed.Publisher{Type: "ldap", URL: url, LDAP: feed.PublisherLDAP{StartTLS: true, BaseDN: "cn=x,ou=pki," + suffix}, Credential: "here"}, stranger, password)
		require.Contains(t, m.next(t, "complete")["complete"].Error, "unknown authority")
	})
}

func TestPublishToNginx(t *testing.T) {
	for name, row := range map[string]struct {
		lines      string
		credential func(dir string) config.Credential
	}{
		"bearer": {`if ($http_authorization != "Bearer t0ken") { return 401; }`, func(dir string) config.Credential {
			return config.Credential{TokenFile: writeFile(t, filepath.Join(dir, "token"), "t0ken\n")}
		}},
		"basic": {`auth_basic "pki"; auth_basic_user_file htpasswd;`, func(dir string) config.Credential {
			writeFile(t, filepath.Join(dir, "htpasswd"), "edge:{PLAIN}pass\n")
			return config.Credential{Username: "edge", PasswordFile: writeFile(t, filepath.Join(dir, "password"), "pass\n")}
		}},
		"client certificate": {`if ($ssl_client_verify != "SUCCESS") { return 403; }`, func(dir string) config.Credential {
			return config.Credential{CertificateFile: filepath.Join(dir, "edge.pem"), KeyFile: filepath.Join(dir, "edge.key")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			nginx := startNginx(t, row.lines)
			credential := row.credential(nginx.dir)
			credential.Hosts = []string{"localhost"}
			m := publishTo(t, feed.Publisher{Type: "http-put", URL: "https://localhost:" + port(t, nginx.address) + "/pki/{{issuer_id}}/{{list}}", Credential: "here"}, nginx, credential)
			m.arrive(t, "complete", "delta", "certificate")
			m.set("complete", m.ca.list(t, 15, 3))
			m.arrive(t, "complete")
			for list, want := range map[string][]byte{"complete": m.lists["complete"], "delta": m.lists["delta"], "certificate": m.ca.certificate.Raw} {
				there, err := os.ReadFile(filepath.Join(nginx.dir, "www", "pki", "1111", list))
				require.NoError(t, err)
				require.Equal(t, want, there)
			}
			log, err := os.ReadFile(filepath.Join(nginx.dir, "access.log"))
			require.NoError(t, err)
			require.Equal(t, 4, strings.Count(string(log), `"PUT `), "each thing once: %s", log)

			m.mu.Lock()
			m.publisher.Credential = ""
			m.mu.Unlock()
			m.set("delta", m.ca.list(t, 16, 2))
			require.Contains(t, m.next(t, "delta")["delta"].Error, "is answered with 40", "it was the credential that opened the door")
		})
	}
}
