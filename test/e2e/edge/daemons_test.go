package edge_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// daemon is a server of other people's software for the length of a test.
type daemon struct {
	address string // host:port
	ca      string // PEM file with the CA of its certificate
	dir     string
}

// tool returns the path of a program, also of those that only root's path has.
func tool(t testing.TB, name, debian string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, name); isProgram(path) {
			return path
		}
	}
	t.Fatalf("%s is not installed: install the Debian package %s (make deps)", name, debian)
	return ""
}

func isProgram(path string) bool {
	about, err := os.Stat(path)
	return err == nil && about.Mode().IsRegular() && about.Mode()&0o111 != 0
}

// launch starts a program that stays in the foreground, waits until it listens and
// ends it with the test.
func launch(t testing.TB, address string, program string, arguments ...string) {
	t.Helper()
	var said bytes.Buffer
	command := exec.CommandContext(context.WithoutCancel(t.Context()), program, arguments...)
	command.Stdout, command.Stderr = &said, &said
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if _, over := wait.Take(ended); !over {
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	for watch := wait.New(); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = connection.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended at once: %s", program, said.String())
		default:
		}
		require.False(t, watch.Still(), "%s does not listen: %v", program, err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func writeFile(t testing.TB, path string, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// must runs a program and returns what it printed; a failure ends the test.
func must(t testing.TB, program string, arguments ...string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", program, strings.Join(arguments, " "), said)
	return string(said)
}

// credentialsIn makes a CA, a certificate for localhost and one for a client named
// "edge", all in files of a folder.
func credentialsIn(t testing.TB, dir string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test TLS"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	writeFile(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	host, err := os.Hostname() // for which libldap takes the loopback addresses
	require.NoError(t, err)
	for name, usage := range map[string]x509.ExtKeyUsage{"localhost": x509.ExtKeyUsageServerAuth, "edge": x509.ExtKeyUsageClientAuth} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			DNSNames: []string{name, host}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
		require.NoError(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		writeFile(t, filepath.Join(dir, name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		writeFile(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	}
}

const (
	suffix      = "dc=example,dc=com"
	admin       = "cn=admin," + suffix
	adminSecret = "correct horse"
)

// startSlapd starts OpenLDAP with an empty directory below suffix. It listens with
// LDAP and StartTLS at address, with LDAP over TLS at the second one, and takes a
// password over TLS only.
func startSlapd(t testing.TB) (plain daemon, encrypted string) {
	t.Helper()
	slapd := tool(t, "slapd", "slapd")
	dir := t.TempDir()
	credentialsIn(t, dir)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	settings := writeFile(t, filepath.Join(dir, "slapd.conf"), fmt.Sprintf(`
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/localhost.pem
TLSCertificateKeyFile %[1]s/localhost.key
TLSVerifyClient try
sockbuf_max_incoming_auth 67108864
security simple_bind=128
authz-regexp "^cn=edge$" "%[3]s"
database mdb
maxsize 268435456
suffix "%[2]s"
rootdn "%[3]s"
rootpw "%[4]s"
directory %[1]s/db
access to * by * read
`, dir, suffix, admin, adminSecret))
	address, encrypted := freeAddress(t), freeAddress(t)
	launch(t, address, slapd, "-d", "0", "-f", settings, "-h", "ldap://"+address+" ldaps://"+encrypted)
	daemon := daemon{address: address, ca: filepath.Join(dir, "ca.pem"), dir: dir}
	daemon.ldap(t, "ldapadd", "-f", writeFile(t, filepath.Join(dir, "base.ldif"),
		"dn: "+suffix+"\nobjectClass: dcObject\nobjectClass: organization\no: Example\n\ndn: ou=pki,"+suffix+"\nobjectClass: organizationalUnit\n"))
	return daemon, encrypted
}

// ldap runs a program of ldap-utils as the administrator.
func (d daemon) ldap(t testing.TB, program string, arguments ...string) string {
	t.Helper()
	said, err := d.tryLDAP(t, program, arguments...)
	require.NoError(t, err, "%s: %s", program, said)
	return said
}

func (d daemon) tryLDAP(t testing.TB, program string, arguments ...string) (string, error) {
	t.Helper()
	base := []string{"-x", "-ZZ", "-H", "ldap://localhost:" + port(t, d.address), "-D", admin, "-w", adminSecret}
	command := exec.CommandContext(t.Context(), tool(t, program, "ldap-utils"), append(base, arguments...)...)
	command.Env = append(os.Environ(), "LDAPTLS_CACERT="+d.ca)
	said, err := command.CombinedOutput()
	return string(said), err
}

// port returns the port of a daemon's address.
func port(t testing.TB, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}

// startNginx starts nginx, which keeps what is PUT below a folder, with these lines
// in its location.
func startNginx(t testing.TB, lines string) daemon {
	t.Helper()
	nginx := tool(t, "nginx", "nginx")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // nginx may run its workers as another user
	credentialsIn(t, dir)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "www"), 0o755))
	address := freeAddress(t)
	settings := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events {}
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s ssl;
		server_name localhost;
		ssl_certificate %[1]s/localhost.pem;
		ssl_certificate_key %[1]s/localhost.key;
		ssl_client_certificate %[1]s/ca.pem;
		ssl_verify_client optional;
		root %[1]s/www;
		client_max_body_size 64m;
		location / {
			dav_methods PUT;
			create_full_put_path on;
			%[3]s
		}
	}
}
`, dir, address, lines))
	launch(t, address, nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", settings)
	return daemon{address: address, ca: filepath.Join(dir, "ca.pem"), dir: dir}
}
