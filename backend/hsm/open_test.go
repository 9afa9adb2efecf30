//go:build cgo

package hsm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/hsm/hsmtest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// spies lists where distributions keep OpenSC's logging module.
var spies = []string{
	"/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
	"/usr/lib/aarch64-linux-gnu/pkcs11-spy.so",
	"/usr/lib64/pkcs11-spy.so",
	"/usr/lib64/pkcs11/pkcs11-spy.so",
}

// spy puts a log between us and a token. It returns the config and a function that
// counts the calls of a PKCS#11 function since then.
func spy(t *testing.T, made *token.Token) (hsm.Config, func(function string) int) {
	t.Helper()
	through := config(made)
	through.Module = ""
	for _, path := range spies {
		if _, err := os.Stat(path); err == nil {
			through.Module = path
		}
	}
	if through.Module == "" {
		t.Fatal("pkcs11-spy.so was not found: install the Debian package opensc-pkcs11")
	}
	log := filepath.Join(socketDir, "spy.log") // read once in a process, like the socket
	t.Setenv("PKCS11SPY", made.Module)
	t.Setenv("PKCS11SPY_OUTPUT", log)
	t.Setenv("PKI_PKCS11_MODULES", through.Module)
	before, _ := os.ReadFile(log) // absent in the first test
	return through, func(function string) int {
		after, err := os.ReadFile(log)
		require.NoError(t, err)
		count := 0
		for lines := bufio.NewScanner(bytes.NewReader(after[len(before):])); lines.Scan(); {
			if strings.HasSuffix(lines.Text(), ": "+function) {
				count++
			}
		}
		return count
	}
}

// tool runs pkcs11-tool on a token.
func tool(t *testing.T, made *token.Token, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("pkcs11-tool")
	if err != nil {
		t.Fatal("pkcs11-tool was not found: install the Debian package opensc")
	}
	args = append([]string{"--module", made.Module, "--token-label", made.Label, "--login", "--pin", made.PIN}, args...)
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestHSM1_WrongPINReachesTheTokenOnce(t *testing.T) {
	through, calls := spy(t, token.New(t, "latch"))
	wrong := through
	wrong.PIN = "wrong"
	other := through
	other.PIN = "wrong as well"

	for range 10 {
		for _, bad := range []hsm.Config{wrong, other} {
			_, err := hsm.Open(t.Context(), bad)
			require.ErrorIs(t, err, hsm.ErrWrongPIN)
			require.True(t, fault.Is(err, fault.Denied))
		}
	}
	require.Equal(t, 2, calls("C_Login"), "one for each of two PINs, however often they take turns")

	_, err := hsm.Offer(t.Context(), wrong)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	require.Equal(t, 3, calls("C_Login"), "an operator may try the same PIN again, once for each time")
	for range 10 {
		_, err = hsm.Open(t.Context(), wrong)
		require.ErrorIs(t, err, hsm.ErrWrongPIN)
	}
	require.Equal(t, 3, calls("C_Login"))

	opened, err := hsm.Open(t.Context(), through)
	require.NoError(t, err)
	defer opened.Close()
	logins := calls("C_Login")
	for range 10 {
		_, err = hsm.Open(t.Context(), other)
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
	}
	require.Equal(t, logins, calls("C_Login"), "compared in this process while somebody is logged in")
}

func TestChangedPINIsTakenUpFromAnOperator(t *testing.T) {
	made := token.New(t, "change")
	opened, err := hsm.Open(t.Context(), config(made))
	require.NoError(t, err)
	defer opened.Close()
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	tool(t, made, "--change-pin", "--new-pin", "another-1")
	renewed := config(made)
	renewed.PIN = "another-1"
	_, err = hsm.Open(t.Context(), renewed)
	require.True(t, fault.Is(err, fault.Denied), "only an operator replaces a PIN in use: %v", err)
	second, err := hsm.Offer(t.Context(), renewed)
	require.NoError(t, err)
	defer second.Close()
	require.NoError(t, hsmtest.Verify(signer), "the other user goes on")

	bad := renewed
	bad.PIN = "nonsense"
	_, err = hsm.Offer(t.Context(), bad)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	require.NoError(t, hsmtest.Verify(signer), "the PIN in use is restored")
}

func TestSessionsStayWithinTheLimit(t *testing.T) {
	through, calls := spy(t, token.New(t, "sessions"))
	through.MaxSessions = 5
	opened, err := hsm.Open(t.Context(), through)
	require.NoError(t, err)
	defer opened.Close()
	var signers []crypto.Signer
	for i, spec := range []cert.KeySpec{cert.P256, cert.Edwards25519} {
		signer, _, err := opened.Generate(t.Context(), spec, []byte{byte(i), 1}, "")
		require.NoError(t, err)
		signers = append(signers, signer)
	}
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			if err := hsmtest.Verify(signers[i%2]); err != nil {
				t.Errorf("signing with few sessions: %v", err)
			}
		})
	}
	wait.Wait()
	require.LessOrEqual(t, calls("C_OpenSession")-calls("C_CloseSession"), 5)
}

func TestTokensWithOneLabelNeedTheirSerial(t *testing.T) {
	first, second := token.New(t, "twin"), token.New(t, "twin")
	byLabel := hsm.Config{Module: first.Module, TokenLabel: "twin", PIN: first.PIN}
	_, err := hsm.Open(t.Context(), byLabel)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Contains(t, err.Error(), "token_serial")
	require.Contains(t, err.Error(), first.Serial)
	require.Contains(t, err.Error(), second.Serial)

	for _, made := range []*token.Token{first, second} {
		opened, err := hsm.Open(t.Context(), config(made))
		require.NoError(t, err)
		defer opened.Close()
		require.Equal(t, made.Serial, opened.Serial())
	}
	_, err = hsm.Open(t.Context(), byLabel)
	require.True(t, fault.Is(err, fault.Conflict), "also when both are open: %v", err)
}

func TestLabelAndSerialNameOneToken(t *testing.T) {
	made := token.New(t, "by name")
	one, err := hsm.Open(t.Context(), config(made))
	require.NoError(t, err)
	defer one.Close()
	target, err := filepath.EvalSymlinks(made.Module)
	require.NoError(t, err)
	t.Setenv("PKI_PKCS11_MODULES", made.Module)
	two, err := hsm.Open(t.Context(), hsm.Config{Module: target, TokenLabel: made.Label, PIN: made.PIN})
	require.NoError(t, err, "a link and its target are one library")
	defer two.Close()
	signer, _, err := one.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)
	_, err = two.Find(t.Context(), []byte("k"), signer.Public())
	require.NoError(t, err)
}

func TestTokenMadeLaterIsFound(t *testing.T) {
	early := token.New(t, "early")
	opened, err := hsm.Open(t.Context(), config(early))
	require.NoError(t, err)
	defer opened.Close()
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	late := token.New(t, "late")
	second, err := hsm.Offer(t.Context(), config(late))
	require.NoError(t, err)
	defer second.Close()
	require.NoError(t, hsmtest.Verify(signer))
}

func TestTwoTokensOfOneLibraryWorkBesideEachOther(t *testing.T) {
	var wait sync.WaitGroup
	for _, made := range []*token.Token{token.New(t, "left"), token.New(t, "right")} {
		opened, err := hsm.Open(t.Context(), config(made))
		require.NoError(t, err)
		defer opened.Close()
		busy, _, err := opened.Generate(t.Context(), cert.P256, []byte("busy"), "")
		require.NoError(t, err)
		for i := range 16 {
			wait.Go(func() {
				_, _, err := opened.Generate(context.Background(), cert.P256, []byte{1, byte(i)}, "")
				if err == nil {
					err = hsmtest.Verify(busy)
				}
				if err != nil {
					t.Errorf("token %s: %v", made.Label, err)
				}
			})
		}
	}
	wait.Wait()
}

func TestConfigIsCheckedBeforeTheLibraryIsLoaded(t *testing.T) {
	module := token.Module(t)
	for name, row := range map[string]struct {
		config hsm.Config
		field  string
	}{
		"no module":     {hsm.Config{TokenLabel: "x"}, "module"},
		"no token":      {hsm.Config{Module: module}, "token_label"},
		"two tokens":    {hsm.Config{Module: module, TokenLabel: "x", TokenSerial: "y"}, "token_label"},
		"few sessions":  {hsm.Config{Module: module, TokenLabel: "x", MaxSessions: 3}, "max_sessions"},
		"many sessions": {hsm.Config{Module: module, TokenLabel: "x", MaxSessions: 1025}, "max_sessions"},
		"time machine":  {hsm.Config{Module: module, TokenLabel: "x", Timeout: -1}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hsm.Open(t.Context(), row.config)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Equal(t, row.field, fault.FieldOfError(err))
		})
	}
}

func TestAbsentTokenAndMissingPIN(t *testing.T) {
	made := token.New(t, "present")
	_, err := hsm.Open(t.Context(), hsm.Config{Module: made.Module, TokenLabel: "no such", PIN: made.PIN})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = hsm.Open(t.Context(), hsm.Config{Module: made.Module, TokenLabel: made.Label})
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Equal(t, "pin", fault.FieldOfError(err))
}

func TestCancelledCallerStopsWaiting(t *testing.T) {
	opened, err := hsm.Open(t.Context(), config(token.New(t, "cancel")))
	require.NoError(t, err)
	defer opened.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = opened.Generate(ctx, cert.RSA4096, []byte("k"), "")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.ErrorIs(t, err, context.Canceled)

	// Interrupted in the middle: the pair is not left behind.
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, _, err = opened.Generate(ctx, cert.RSA4096, []byte("k"), "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	pairs, err := opened.List(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, pairs)
}

func TestKeysAsOtherSoftwareSeesThem(t *testing.T) {
	made := token.New(t, "seen by others")
	opened, err := hsm.Open(t.Context(), config(made))
	require.NoError(t, err)
	defer opened.Close()
	for i, spec := range []cert.KeySpec{cert.RSA2048, cert.P384, cert.Edwards25519} {
		_, _, err := opened.Generate(t.Context(), spec, []byte{0xca, byte(i)}, "issuing "+spec.String())
		require.NoError(t, err)
	}
	for i, name := range []string{"RSA", "EC", "EC_EDWARDS"} {
		id := []string{"ca00", "ca01", "ca02"}[i]
		out := tool(t, made, "--list-objects", "--type", "privkey", "--id", id)
		require.Contains(t, out, "Private Key Object; "+name)
		require.Regexp(t, `Usage:\s+sign\n`, out, "signs and nothing else")
		require.Regexp(t, `Access:\s+sensitive, always sensitive, never extractable, local\n`, out)
		out = tool(t, made, "--list-objects", "--type", "pubkey", "--id", id)
		require.Regexp(t, `Usage:\s+verify\n`, out)
	}
}

func TestOrphansOfACrashAreToldFromPairs(t *testing.T) {
	made := token.New(t, "orphans")
	orphan, err := exec.Command("openssl", "genrsa", "2048").Output()
	if err != nil {
		t.Fatalf("openssl failed (%v): install the Debian package openssl", err)
	}
	private := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(private, orphan, 0o600))
	public, err := exec.Command("openssl", "rsa", "-in", private, "-pubout", "-outform", "DER").Output()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key.der")
	require.NoError(t, os.WriteFile(file, public, 0o600))
	tool(t, made, "--write-object", file, "--type", "pubkey", "--id", "0a0b", "--label", "alone")

	opened, err := hsm.Open(t.Context(), config(made))
	require.NoError(t, err)
	defer opened.Close()
	pairs, err := opened.List(t.Context(), []byte{0x0a})
	require.NoError(t, err)
	require.Equal(t, []hsm.Pair{{ID: []byte{0x0a, 0x0b}, Label: "alone", Public: true}}, pairs)
	_, _, err = opened.Generate(t.Context(), cert.P256, []byte{0x0a, 0x0b}, "")
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, opened.DestroyOrphan(t.Context(), []byte{0x0a, 0x0b}))
	pairs, err = opened.List(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, pairs)
}
