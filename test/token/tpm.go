package token

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// Variables by which tpm2-pkcs11 finds its database and the TPM when it is
// initialised, and by which tpm2-tools find the TPM.
const (
	storeVariable = "TPM2_PKCS11_STORE"
	tctiVariable  = "TPM2_PKCS11_TCTI"
	toolsVariable = "TPM2TOOLS_TCTI"
	busVariable   = "DBUS_SESSION_BUS_ADDRESS"
)

// tpmModules lists where distributions keep the tpm2-pkcs11 library.
var tpmModules = []string{
	"/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1",
	"/usr/lib/aarch64-linux-gnu/libtpm2_pkcs11.so.1",
	"/usr/lib64/pkcs11/libtpm2_pkcs11.so",
}

// tpmPackages names the Debian package of each program.
var tpmPackages = map[string]string{
	"swtpm":                  "swtpm",
	"tpm2-abrmd":             "tpm2-abrmd, with libtss2-tcti-tabrmd0",
	"dbus-daemon":            "dbus-daemon",
	"tpm2_send":              "tpm2-tools",
	"tpm2_dictionarylockout": "tpm2-tools",
	"tpm2_getcap":            "tpm2-tools",
	"pkcs11-tool":            "opensc",
}

// TPM is a software TPM 2.0 with the access broker that tpm2-pkcs11 needs, since a
// TPM itself has room for three keys at a time. It locks after MaxTries wrong PINs.
type TPM struct {
	Module string // path of tpm2-pkcs11, the PKCS#11 library

	t      testing.TB
	dir    string
	tokens int
	chip   *exec.Cmd
	broker *exec.Cmd
}

// MaxTries is how many wrong PINs a TPM takes before it locks. It counts each
// PowerOff as one too.
const MaxTries = 5

// NewTPM starts a TPM that lives as long as the test and makes it the TPM of this
// process. It fails the test when a program is missing.
func NewTPM(t testing.TB) *TPM {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm") //nolint:usetesting // its path must be short and plain, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &TPM{Module: tpmModule(t), t: t, dir: dir}
	for _, name := range []string{"state", "store"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bus := filepath.Join(dir, "bus")
	daemon := p.start("dbus-daemon", "--session", "--nofork", "--nopidfile", "--address=unix:path="+bus)
	t.Cleanup(func() { end(daemon) })
	p.await("dbus-daemon listens", func() error { return listens(t, bus) })
	t.Cleanup(p.PowerOff)
	p.PowerOn()
	t.Setenv(storeVariable, filepath.Join(dir, "store"))
	// Through a program: in this process, the broker's library would keep to the first
	// bus that it saw, even when that has gone.
	t.Setenv(tctiVariable, "cmd:"+busVariable+"=unix:path="+bus+" "+program(t, "tpm2_send")+" -T "+tabrmd+" 2>/dev/null")
	t.Setenv("TSS2_LOG", "all+none")
	return p
}

// tabrmd is the address of the broker, given its bus.
const tabrmd = "tabrmd:bus_type=session"

// PowerOn starts the TPM with what it knew before, and its broker.
func (p *TPM) PowerOn() {
	p.t.Helper()
	socket := filepath.Join(p.dir, "chip")
	p.chip = p.start("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+filepath.Join(p.dir, "state"),
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl",
		"--flags", "not-need-init,startup-clear")
	p.await("swtpm listens", func() error { return errors.Join(listens(p.t, socket), listens(p.t, socket+".ctrl")) })
	p.broker = p.start("tpm2-abrmd", "--session", "--allow-root", "--max-transients=100", "--tcti=swtpm:path="+socket)
	p.await("tpm2-abrmd answers", func() error {
		_, err := p.run("tpm2_dictionarylockout", "--setup-parameters",
			"--max-tries="+strconv.Itoa(MaxTries), "--recovery-time=3600", "--lockout-recovery-time=0")
		return err
	})
}

// PowerOff ends the TPM and its broker at once; one that is off stays off.
func (p *TPM) PowerOff() {
	end(p.broker)
	end(p.chip)
	p.broker, p.chip = nil, nil
	_ = os.Remove(filepath.Join(p.dir, "chip"))
	_ = os.Remove(filepath.Join(p.dir, "chip.ctrl"))
}

// Signal sends a signal to the TPM: one that is stopped swallows commands.
func (p *TPM) Signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.chip.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
}

// Token makes a token with a label. All tokens of tpm2-pkcs11 have the serial
// number 0.
func (p *TPM) Token(label string) *Token {
	p.t.Helper()
	made := &Token{Module: p.Module, Label: label, Serial: strings.Repeat("0", 16), PIN: PIN, SOPIN: SOPIN}
	for _, args := range [][]string{
		// The last slot is always that of a token yet to be made.
		{"--slot-index", strconv.Itoa(p.tokens), "--init-token", "--label", label},
		{"--token-label", label, "--login", "--login-type", "so", "--init-pin", "--new-pin", PIN},
	} {
		args = append([]string{"--module", p.Module, "--so-pin", SOPIN}, args...)
		if out, err := exec.CommandContext(p.t.Context(), program(p.t, "pkcs11-tool"), args...).CombinedOutput(); err != nil {
			p.t.Fatalf("pkcs11-tool %s: %v: %s", args, err, out)
		}
	}
	p.tokens++
	return made
}

// Tool runs one of the tpm2-tools on the TPM and returns what it printed.
func (p *TPM) Tool(name string, args ...string) string {
	p.t.Helper()
	out, err := p.run(name, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v: %s", name, args, err, out)
	}
	return out
}

// run runs one of the tpm2-tools.
func (p *TPM) run(name string, args ...string) (string, error) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), program(p.t, name), args...)
	cmd.Env = append(p.env(), toolsVariable+"="+tabrmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// env is the environment of a program that uses the bus.
func (p *TPM) env() []string {
	return append(os.Environ(), busVariable+"=unix:path="+filepath.Join(p.dir, "bus"))
}

// start starts a program that runs until it is ended.
func (p *TPM) start(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	// It ends after the context of the test, with its cleanup.
	cmd := exec.CommandContext(context.WithoutCancel(p.t.Context()), program(p.t, name), args...)
	cmd.Env = p.env()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() // the program has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return cmd
}

// end kills a program that was started here.
func end(cmd *exec.Cmd) {
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

// await repeats a check until it succeeds.
func (p *TPM) await(what string, check func() error) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	watch := wait.New()
	for {
		err := check()
		if err == nil {
			return
		}
		if <-tick.C; watch.Still() {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			p.t.Fatalf("waiting until %s: %v\n%s", what, err, log)
		}
	}
}

// listens returns an error until somebody accepts connections to a socket.
func listens(t testing.TB, socket string) error {
	connection, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
	if err != nil {
		return err
	}
	return connection.Close()
}

// program returns the path of a program; it fails the test when there is none.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s was not found: install the Debian package %s", name, tpmPackages[name])
	return ""
}

// tpmModule returns the path of tpm2-pkcs11; it fails the test when there is none.
func tpmModule(t testing.TB) string {
	t.Helper()
	for _, path := range tpmModules {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("libtpm2_pkcs11.so was not found: install the Debian package libtpm2-pkcs11-1")
	return ""
}
