// Package token promises real PKCS#11 tokens of two makers for tests: SoftHSM tokens
// in a directory that lives as long as the test, found by their label or serial
// number because SoftHSM moves slot numbers, and tokens of tpm2-pkcs11 in a software
// TPM.
//
// SoftHSM reads SOFTHSM2_CONF when it is initialised and one process has one such
// variable. So the first token of a test makes a directory and sets the variable,
// and further tokens of the same test, or of its subtests, go into that directory.
// Tests that use this package cannot run in parallel.
package token

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// PINs of every token made here.
const (
	PIN   = "5678-user"
	SOPIN = "1234-officer"
)

// variable names SoftHSM's configuration file in the environment.
const variable = "SOFTHSM2_CONF"

// configName is the name of the configuration files made here. A variable that
// ends in it was set by this package for a test that is still running.
const configName = "softhsm2-of-test.conf"

// modules lists where distributions keep the SoftHSM library.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Token is one token, of SoftHSM where nothing else is said.
type Token struct {
	Module string // path of the PKCS#11 library
	Label  string
	Serial string // 16 hexadecimal digits
	PIN    string // of the user
	SOPIN  string // of the security officer
	Config string // path of the file for SOFTHSM2_CONF; empty in a TPM
}

// New makes a token with a label. Labels need not be unique. It fails the test when
// SoftHSM is not installed.
func New(t testing.TB, label string) *Token {
	t.Helper()
	token := &Token{Module: Module(t), Label: label, PIN: PIN, SOPIN: SOPIN, Config: directory(t)}
	out := tool(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SOPIN, "--pin", PIN)
	slot := regexp.MustCompile(`reassigned to slot (\d+)`).FindStringSubmatch(out)
	if slot == nil {
		t.Fatalf("softhsm2-util --init-token named no slot: %s", out)
	}
	token.Serial = serial(t, slot[1])
	return token
}

// Env returns the variable that lets another process see a SoftHSM token, in the
// form of os/exec.
func (k *Token) Env() string { return variable + "=" + k.Config }

// Module returns the path of the SoftHSM library; it fails the test when there is
// none.
func Module(t testing.TB) string {
	t.Helper()
	for _, path := range modules {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("libsofthsm2.so was not found: install the Debian package softhsm2")
	return ""
}

// directory returns the configuration file of the running test, making it and its
// token directory when this is the first token.
func directory(t testing.TB) string {
	t.Helper()
	if config := os.Getenv(variable); filepath.Base(config) == configName {
		if _, err := os.Stat(config); err == nil {
			return config
		}
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, configName)
	text := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, config)
	return config
}

// serial reads the serial number of the token in a slot.
func serial(t testing.TB, slot string) string {
	t.Helper()
	out := tool(t, "softhsm2-util", "--show-slots")
	_, block, found := strings.Cut(out, "Slot "+slot+"\n")
	if !found {
		t.Fatalf("softhsm2-util --show-slots does not show slot %s: %s", slot, out)
	}
	match := regexp.MustCompile(`Serial number:\s+([0-9a-f]+)`).FindStringSubmatch(block)
	if match == nil {
		t.Fatalf("softhsm2-util --show-slots shows no serial number: %s", out)
	}
	return match[1]
}

// tool runs softhsm2-util and returns what it printed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s was not found: install the Debian package softhsm2", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, args[0], err, out)
	}
	return string(out)
}
