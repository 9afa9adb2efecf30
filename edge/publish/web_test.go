package publish_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// site is a web server that takes PUT.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	files   map[string][]byte
	puts    map[string]int
	types   map[string]string
	seen    []string // Authorization headers
	allow   func(*http.Request) int
	mangled bool // whether it stores something else
}

func newSite(t testing.TB, change func(*httptest.Server)) *site {
	t.Helper()
	s := &site{files: map[string][]byte{}, puts: map[string]int{}, types: map[string]string{}, allow: func(*http.Request) int { return 0 }}
	s.Server = httptest.NewUnstartedServer(s)
	if change != nil {
		change(s.Server)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r.Header.Get("Authorization"))
	if code := s.allow(r); code != 0 {
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(code)
		return
	}
	path := r.URL.EscapedPath()
	if r.Method == http.MethodPut {
		s.files[path], _ = io.ReadAll(r.Body)
		if s.mangled {
			s.files[path] = []byte("something else")
		}
		s.puts[path]++
		s.types[path] = r.Header.Get("Content-Type")
		w.WriteHeader(http.StatusCreated)
		return
	}
	content, ok := s.files[path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = w.Write(content)
}

func (s *site) set(allow func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = allow
}

// publisher writes to the site, which it knows.
func (s *site) publisher(what ...string) feed.Publisher {
	return feed.Publisher{
		Name: "web", Version: 1, Type: "http-put", Publish: what, URL: s.URL + "/pki/{{issuer_name}}/{{list}}",
		CACertificates: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))},
	}
}

func (s *site) host() string { return strings.TrimPrefix(s.URL, "https://") }

func secretFile(t testing.TB, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secret+"\n"), 0o600))
	return path
}

func TestPutArrivesOnce(t *testing.T) {
	s, ca, m := newSite(t, nil), newAuthority(t, "Servers"), newMount()
	first := map[string][]byte{"complete": ca.list(t, 5, 1), "8-3": ca.list(t, 6, 0)}
	m.set(ca, first, s.publisher("complete", "shards", "certificate"))
	run(t, m, nil)
	m.holds(t, "web", "complete", first["complete"])
	m.holds(t, "web", "8-3", first["8-3"])
	m.holds(t, "web", "certificate", ca.certificate.Raw)
	s.mu.Lock()
	asked := len(s.seen)
	s.mu.Unlock()
	require.Equal(t, 9, asked, "for each thing: look, write, look")
	for range 5 { // a manifest changes with every certificate that is issued
		m.set(ca, first, s.publisher("complete", "shards", "certificate"))
	}
	second := map[string][]byte{"complete": first["complete"], "8-3": ca.list(t, 16, 1)}
	m.set(ca, second, s.publisher("complete", "shards", "certificate"))
	m.holds(t, "web", "8-3", second["8-3"])
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, s.seen, asked+3)
	require.Equal(t, map[string]int{"/pki/servers/complete": 1, "/pki/servers/8-3": 2, "/pki/servers/certificate": 1}, s.puts)
	require.Equal(t, map[string]string{
		"/pki/servers/complete": "application/pkix-crl", "/pki/servers/8-3": "application/pkix-crl", "/pki/servers/certificate": "application/pkix-cert",
	}, s.types)
}

func TestPutProvesWhoWeAre(t *testing.T) {
	ca := newAuthority(t, "Servers")
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	for name, row := range map[string]struct {
		credential config.Credential
		want       string
	}{
		"bearer": {config.Credential{TokenFile: secretFile(t, "t0ken")}, "Bearer t0ken"},
		"basic":  {config.Credential{Username: "edge", PasswordFile: secretFile(t, "pass")}, "Basic ZWRnZTpwYXNz"},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newSite(t, nil), newMount()
			s.set(func(r *http.Request) int {
				if r.Header.Get("Authorization") != row.want {
					return http.StatusUnauthorized
				}
				return 0
			})
			publisher := s.publisher("complete")
			publisher.Credential = "web"
			row.credential.Hosts = []string{s.host()}
			m.set(ca, list, publisher)
			run(t, m, map[string]config.Credential{"web": row.credential})
			m.holds(t, "web", "complete", list["complete"])
		})
	}
}

func TestPutProvesWhoWeAreByCertificate(t *testing.T) {
	ca, m := newAuthority(t, "Client"), newMount()
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	s := newSite(t, func(server *httptest.Server) {
		server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	})
	s.set(func(r *http.Request) int {
		if !r.TLS.PeerCertificates[0].Equal(ca.certificate) {
			return http.StatusForbidden
		}
		return 0
	})
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	require.NoError(t, err)
	credential := config.Credential{
		CertificateFile: secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}))),
		KeyFile:         secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
		Hosts:           []string{"127.0.0.1"},
	}
	publisher := s.publisher("complete")
	publisher.Credential = "web"
	m.set(ca, list, publisher)
	run(t, m, map[string]config.Credential{"web": credential})
	m.holds(t, "web", "complete", list["complete"])
}

// A publisher says where to; this edge's own configuration says who may see what.
func TestPublish1_NoSecretToStrangers(t *testing.T) {
	ca := newAuthority(t, "Servers")
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	credentials := func(hosts ...string) map[string]config.Credential {
		return map[string]config.Credential{"web": {TokenFile: secretFile(t, "t0ken"), Hosts: hosts}}
	}
	for name, row := range map[string]struct {
		change      func(*site, *feed.Publisher)
		credentials map[string]config.Credential
		want        string
	}{
		"another host":          {nil, credentials("pki.example.com"), "is not for 127.0.0.1"},
		"another port":          {nil, credentials("127.0.0.1:1"), "is not for 127.0.0.1"},
		"no such credential":    {nil, nil, `no credential "web"`},
		"no file":               {nil, map[string]config.Credential{"web": {TokenFile: "/nowhere", Hosts: []string{"127.0.0.1"}}}, "no such file"},
		"an empty file":         {nil, map[string]config.Credential{"web": {TokenFile: secretFile(t, ""), Hosts: []string{"127.0.0.1"}}}, "is empty"},
		"in the clear":          {func(_ *site, p *feed.Publisher) { p.URL = strings.Replace(p.URL, "https", "http", 1) }, credentials("127.0.0.1"), "over https only"},
		"a password in the URL": {func(_ *site, p *feed.Publisher) { p.URL = strings.Replace(p.URL, "https://", "https://user:pw@", 1) }, credentials("127.0.0.1"), "must not hold a password"},
		"an unknown server":     {func(_ *site, p *feed.Publisher) { p.CACertificates = nil }, credentials("127.0.0.1"), "certificate"},
		"a redirect": {func(s *site, _ *feed.Publisher) {
			s.set(func(*http.Request) int { return http.StatusTemporaryRedirect })
		}, credentials("127.0.0.1"), "answered with 307"},
		"a template for a host": {func(_ *site, p *feed.Publisher) { p.URL = "https://{{issuer_name}}.example.com/x" }, credentials("127.0.0.1"), "url"},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newSite(t, nil), newMount()
			publisher := s.publisher("complete")
			publisher.Credential = "web"
			if row.change != nil {
				row.change(s, &publisher)
			}
			m.set(ca, list, publisher)
			run(t, m, row.credentials)
			why := m.fails(t, "web", "complete")
			require.Contains(t, why, row.want)
			require.NotContains(t, why, "t0ken")
			s.mu.Lock()
			defer s.mu.Unlock()
			if name != "a redirect" {
				require.Empty(t, s.seen, "the server heard nothing")
			}
		})
	}
}

func TestPutIsTriedAgain(t *testing.T) {
	s, ca, m := newSite(t, nil), newAuthority(t, "Servers"), newMount()
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	s.set(func(r *http.Request) int {
		if r.Method == http.MethodPut {
			return http.StatusInternalServerError
		}
		return 0
	})
	m.set(ca, list, s.publisher("complete"))
	run(t, m, nil)
	require.Equal(t, "PUT is answered with 500 Internal Server Error", m.fails(t, "web", "complete"))
	s.set(func(*http.Request) int { return 0 })
	m.holds(t, "web", "complete", list["complete"])
}

func TestWhatIsReadBackDecides(t *testing.T) {
	s, ca, m := newSite(t, nil), newAuthority(t, "Servers"), newMount()
	s.mangled = true
	m.set(ca, map[string][]byte{"complete": ca.list(t, 5, 1)}, s.publisher("complete"))
	run(t, m, nil)
	require.Contains(t, m.fails(t, "web", "complete"), "the target returned other content than was written: 14 bytes")
}

// A server that takes connections and says nothing holds up its own publisher alone.
func TestOneFailingPublisherHoldsUpNoOther(t *testing.T) {
	hole, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer hole.Close()
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	stuck := feed.Publisher{Name: "a-stuck", Type: "http-put", Publish: []string{"complete"}, URL: "http://" + hole.Addr().String() + "/{{list}}"}
	ldap := feed.Publisher{Name: "b-stuck", Type: "ldap", Publish: []string{"complete"}, URL: "ldaps://" + hole.Addr().String(), LDAP: feed.PublisherLDAP{BaseDN: "cn=x"}}
	for number := range int64(5) {
		list := ca.list(t, number+1, 1)
		m.set(ca, map[string][]byte{"complete": list}, stuck, ldap, toFile(dir+"/list.crl", "complete"))
		if number == 0 {
			run(t, m, nil, dir)
		}
		m.holds(t, "files", "complete", list)
	}
}

func TestReportsWaitForTheMount(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	m.refuse = errors.New("sealed")
	m.set(ca, list, toFile(dir+"/list.crl", "complete"))
	run(t, m, nil, dir)
	<-func() chan struct{} { m.mu.Lock(); defer m.mu.Unlock(); return m.heard }()
	m.mu.Lock()
	m.refuse = nil
	m.mu.Unlock()
	m.holds(t, "files", "complete", list["complete"])
}
