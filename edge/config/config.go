// Package config promises that an edge starts only with a configuration that was
// understood as a whole: one YAML (or JSON) file, variables of the environment over
// it, unknown names refused, and errors that name the field and the rule.
//
// Secrets are named by files, never written into the configuration itself.
package config

import "time"

// Config is the configuration of one edge: one mount of one Vault server.
type Config struct {
	// Name tells edges apart in the logs and reports of the mount; the host's name when
	// it is empty. Edges that share a PKCS#11 token need different names.
	Name string `yaml:"name"`
	// URL is where relying parties reach the edge, such as http://pki.example.com; the
	// repository page shows it. Empty: wherever they found it.
	URL string `yaml:"url"`
	// DataDir is the folder of the copies on disk. It is made when it does not exist.
	DataDir string `yaml:"data_dir"`
	// PollInterval is how long after an answer the mount is asked again, 1 s by
	// default: what a revocation waits for at most until the edge knows.
	PollInterval time.Duration         `yaml:"poll_interval"`
	Vault        Vault                 `yaml:"vault"`
	Listen       Listen                `yaml:"listen"`
	Signer       Signer                `yaml:"signer"`
	Log          Log                   `yaml:"log"`
	Selftest     Selftest              `yaml:"selftest"`
	Credentials  map[string]Credential `yaml:"credentials"`
	// PublishDirectories are the absolute folders below which publishers of type file
	// may write; none by default: the mount alone does not decide which files change here.
	PublishDirectories []string `yaml:"publish_directories"`
}

// Vault says where the mount is and how the edge logs in: with an AppRole or with a
// token that something else (Vault Agent) keeps in a file.
type Vault struct {
	Address   string `yaml:"address"`   // https://host:port
	Namespace string `yaml:"namespace"` // empty: none
	Mount     string `yaml:"mount"`     // path of the secrets engine
	CAFile    string `yaml:"ca_file"`   // PEM, trusted for Vault's TLS; empty: those of the system
	// ServerName is expected in Vault's certificate instead of the address's host.
	ServerName string        `yaml:"server_name"`
	Timeout    time.Duration `yaml:"timeout"` // of one request
	TokenFile  string        `yaml:"token_file"`
	AppRole    AppRole       `yaml:"approle"`
}

// AppRole are the credentials of the AppRole auth method.
type AppRole struct {
	Path         string `yaml:"path"` // where the method is mounted
	RoleID       string `yaml:"role_id"`
	SecretIDFile string `yaml:"secret_id_file"` // read at each login
}

// Listen says where and within which limits the edge answers.
type Listen struct {
	Address        string `yaml:"address"`         // host:port, plain HTTP
	MaxConnections int    `yaml:"max_connections"` // open at once; then idle ones are closed for new ones
	// MetricsAddress is host:port of a listener of its own for /metrics, /healthz and
	// /readyz, such as 127.0.0.1:9464; the public one has no /metrics then. Empty: the
	// public one has it.
	MetricsAddress string        `yaml:"metrics_address"`
	ShutdownGrace  time.Duration `yaml:"shutdown_grace"` // for requests under way when the edge is told to end
}

// The places of an OCSP signer's key.
const (
	KeyInMemory = "memory" // gone with the process
	KeyInFile   = "file"   // below DataDir, mode 0600, in clear
	KeyInToken  = "pkcs11"
)

// Signer says where the keys of the edge's OCSP signers live.
type Signer struct {
	Key    string `yaml:"key"`
	PKCS11 PKCS11 `yaml:"pkcs11"`
}

// PKCS11 names the token of KeyInToken.
type PKCS11 struct {
	Module      string `yaml:"module"` // path of the library, in the allow-list (PKI_PKCS11_MODULES)
	TokenLabel  string `yaml:"token_label"`
	TokenSerial string `yaml:"token_serial"`
	PINFile     string `yaml:"pin_file"`
}

// Log says how much is logged, and how, to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// Selftest says how `pki-edge selftest` makes the certificate that it revokes.
type Selftest struct {
	Role       string        `yaml:"role"`
	CommonName string        `yaml:"common_name"`
	URL        string        `yaml:"url"`     // of the edge that is asked; empty: listen.address on this host
	Timeout    time.Duration `yaml:"timeout"` // for OCSP and CRL to show the revocation
}

// Credential is what a publisher of the mount names to log in somewhere: a bearer
// token, a user with a password, or a client certificate.
type Credential struct {
	TokenFile       string `yaml:"token_file"`
	Username        string `yaml:"username"` // or the DN to bind as
	PasswordFile    string `yaml:"password_file"`
	CertificateFile string `yaml:"certificate_file"` // PEM
	KeyFile         string `yaml:"key_file"`         // PEM
	// Hosts are the servers that may see it, as "host" or "host:port": whoever may write
	// a publisher to the mount must not be able to send it elsewhere.
	Hosts []string `yaml:"hosts"`
}

// Default returns the configuration to which a file and the environment are applied.
func Default() Config {
	return Config{
		DataDir:      "/var/lib/pki-edge",
		PollInterval: time.Second,
		Vault:        Vault{Mount: "pki", Timeout: 30 * time.Second, AppRole: AppRole{Path: "approle"}},
		Listen:       Listen{Address: ":8080", MaxConnections: 4096, ShutdownGrace: 10 * time.Second},
		Signer:       Signer{Key: KeyInMemory},
		Log:          Log{Level: "info", Format: "text"},
		Selftest:     Selftest{CommonName: "pki-edge-selftest", Timeout: 2 * time.Minute},
	}
}
