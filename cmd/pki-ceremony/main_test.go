package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

var update = flag.Bool("update", false, "write the generated page anew")

const ordersReference = "../../docs/reference/ceremony-orders.md"

func TestOrderReferenceIsCurrent(t *testing.T) {
	page := ordersPage()
	if *update {
		if err := os.WriteFile(ordersReference, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(ordersReference)
	if err != nil || string(written) != page {
		t.Fatalf("%s is not current: run scripts/docs (%v)", ordersReference, err)
	}
	for _, kind := range orderKinds {
		if len(kind.fields) < 10 {
			t.Errorf("%s: only %d fields", kind.command, len(kind.fields))
		}
		for _, field := range kind.fields {
			if field.Doc == "" || strings.HasSuffix(field.Name, ".") {
				t.Errorf("%s: key %q is not described", kind.command, field.Name)
			}
			if !strings.Contains(orderHelp(kind.command), "\n  "+field.Name+" (") {
				t.Errorf("%s --help does not show %s", kind.command, field.Name)
			}
		}
	}
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pki-ceremony": main})
}

// exampleModule is the library that the orders in testdata name.
const exampleModule = "/usr/lib/softhsm/libsofthsm2.so"

func TestCeremonies(t *testing.T) {
	for tool, debian := range map[string]string{"openssl": "openssl", "pkcs11-tool": "opensc", "crlutil": "libnss3-tools", "certutil": "libnss3-tools"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s was not found: install the Debian package %s", tool, debian)
		}
	}
	module := token.Module(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return prepare(env, module) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fails":        fails,
			"edit":         edit,
			"serial":       serialOf,
			"now":          now,
			"expired-root": expiredRoot,
			"foreign-crls": foreignCRLs,
		},
	})
}

// prepare gives a script a token of its own, its PIN, and the example orders.
func prepare(env *testscript.Env, module string) error {
	dir := env.WorkDir
	config := filepath.Join(dir, ".softhsm2.conf")
	tokens := filepath.Join(dir, ".tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return err
	}
	files := map[string]string{
		config:                          "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\n",
		filepath.Join(dir, "pin"):       token.PIN + "\n",
		filepath.Join(dir, "wrong-pin"): "0000-wrong\n",
	}
	orders, err := filepath.Glob("testdata/orders/*.yaml")
	if err != nil {
		return err
	}
	for _, order := range orders {
		text, err := os.ReadFile(order)
		if err != nil {
			return err
		}
		files[filepath.Join(dir, filepath.Base(order))] = strings.ReplaceAll(string(text), exampleModule, module)
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	env.Setenv("SOFTHSM2_CONF", config)
	env.Setenv("PKI_PKCS11_MODULES", module)
	tool := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "example-root", "--pin", token.PIN, "--so-pin", token.SOPIN)
	tool.Env = env.Vars
	output, err := tool.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("softhsm2-util was not found: install the Debian package softhsm2")
	}
	if err != nil {
		return fmt.Errorf("making token: %w: %s", err, output)
	}
	return nil
}

// fails CODE PROGRAM ARG... runs a program that must end with this exit code.
func fails(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("wanted exit code %s, got %v", args[0], err)
	}
}

// edit FILE OLD NEW replaces a text that must be there.
func edit(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	wanted := strings.ReplaceAll(args[1], `\n`, "\n")
	if !strings.Contains(text, wanted) {
		ts.Fatalf("%s does not hold %q", args[0], wanted)
	}
	text = strings.ReplaceAll(text, wanted, strings.ReplaceAll(args[2], `\n`, "\n"))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// serial VARIABLE FILE takes the serial number from a certificate.
func serialOf(ts *testscript.TestScript, _ bool, args []string) {
	certificates, _, err := cert.ParseCertificates([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Setenv(args[0], cert.SerialOf(certificates[0].SerialNumber).String())
}

// now VARIABLE [OFFSET] takes the time.
func now(ts *testscript.TestScript, _ bool, args []string) {
	at := time.Now().UTC()
	if len(args) > 1 {
		offset, err := time.ParseDuration(args[1])
		ts.Check(err)
		at = at.Add(offset)
	}
	ts.Setenv(args[0], at.Format(time.RFC3339))
}

// expired-root FILE writes a root that ended yesterday.
func expiredRoot(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ts.Check(err)
	serial, err := cert.NewSerial()
	ts.Check(err)
	end := time.Now().AddDate(0, 0, -1)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Old Root"}, SerialNumber: serial.Big(), NotBefore: end.AddDate(-20, 0, 0), NotAfter: end,
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}

const guide = "../../docs/how-to/offline-root.md"

// The guide shows the very files that the ceremonies above were carried out with.
func TestTheGuideShowsTheOrdersThatAreTested(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := filepath.Glob("testdata/orders/*.yaml")
	if err != nil || len(orders) == 0 {
		t.Fatalf("no orders: %v", err)
	}
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		shown[block[1]] = true
	}
	for _, path := range orders {
		order, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !shown[string(order)] {
			t.Errorf("%s does not show %s as it is", guide, path)
		}
		delete(shown, string(order))
	}
	if len(shown) > 0 {
		t.Errorf("%s shows %d YAML blocks that no test uses", guide, len(shown))
	}
}

// Every command line of the guide is one that a ceremony above runs.
func TestTheGuideShowsTheCommandsThatAreTested(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	story, err := os.ReadFile("testdata/script/two-tiers.txtar")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^(?:pki-ceremony|openssl) .+$`).FindAllString(string(text), -1)
	if len(commands) < 5 {
		t.Fatalf("%s shows only %d commands", guide, len(commands))
	}
	for _, command := range commands {
		if !strings.Contains(string(story), "\nexec "+command+"\n") {
			t.Errorf("no test runs %q", command)
		}
	}
}
