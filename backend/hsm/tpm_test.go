//go:build cgo

package hsm_test

import (
	"crypto/rsa"
	"math/big"
	"path"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/hsm/hsmtest"
	"vault-plugin-secrets-enterprise-pki/test/token"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// inTPM opens a token of tpm2-pkcs11: by its label, since all of them have one
// serial number.
func inTPM(made *token.Token) hsm.Config {
	return hsm.Config{Module: made.Module, TokenLabel: made.Label, PIN: made.PIN}
}

func TestConformanceOnTPM2(t *testing.T) {
	hsmtest.Run(t, hsmtest.Token{
		Fresh:   func(t *testing.T) hsm.Config { return inTPM(token.NewTPM(t).Token(path.Base(t.Name()))) },
		Specs:   []cert.KeySpec{cert.RSA2048, cert.P256, cert.P384},
		Padding: hsmtest.PKCS1v15Only,
	})
}

// open opens a token for the length of the test.
func open(t *testing.T, config hsm.Config) *hsm.Token {
	t.Helper()
	opened, err := hsm.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(opened.Close)
	return opened
}

// wrongPINs returns how many wrong PINs the TPM has counted.
func wrongPINs(t *testing.T, tpm *token.TPM) int {
	t.Helper()
	out := tpm.Tool("tpm2_getcap", "properties-variable")
	match := regexp.MustCompile(`TPM2_PT_LOCKOUT_COUNTER: 0x([0-9A-F]+)`).FindStringSubmatch(out)
	require.NotNil(t, match, "%s", out)
	count, err := strconv.ParseInt(match[1], 16, 32)
	require.NoError(t, err)
	return int(count)
}

func TestTokensWithOneSerialAreToldApartByLabel(t *testing.T) {
	tpm := token.NewTPM(t)
	left, right := tpm.Token("left"), tpm.Token("right")
	tool(t, right, "--change-pin", "--new-pin", "right-pin")
	right.PIN = "right-pin"

	_, err := hsm.Open(t.Context(), hsm.Config{Module: tpm.Module, TokenSerial: left.Serial, PIN: left.PIN})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, "token_serial", fault.FieldOfError(err))
	for _, text := range []string{"token_label", `"left"`, `"right"`} {
		require.Contains(t, err.Error(), text)
	}

	mistaken := inTPM(left)
	mistaken.PIN = right.PIN
	_, err = hsm.Open(t.Context(), mistaken)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	opened, other := open(t, inTPM(left)), open(t, inTPM(right))
	require.Equal(t, opened.Serial(), other.Serial())

	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)
	_, err = other.Find(t.Context(), []byte("k"), signer.Public())
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	twin, _, err := other.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err, "the id is taken in the other token only")

	tpm.PowerOff()
	require.True(t, fault.Is(sign(signer), fault.Unavailable))
	tpm.PowerOn()
	recovers(t, signer)
	recovers(t, twin)
}

func TestTokenOfATPMIsFoundByItsSerialWhileItIsTheOnlyOne(t *testing.T) {
	made := token.NewTPM(t).Token("single")
	opened := open(t, hsm.Config{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN})
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err, "the slot of a token to be made shows the same serial number")
	require.NoError(t, hsmtest.Verify(signer))
}

func TestHSM1_TPMThatGoesAwayIsUnavailableAndComesBack(t *testing.T) {
	tpm := token.NewTPM(t)
	config := inTPM(tpm.Token("lost"))
	config.Timeout = time.Second
	opened := open(t, config)
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	for range 2 {
		tpm.PowerOff()
		for range 5 {
			err := sign(signer)
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		}
		status := opened.Status(t.Context())
		require.False(t, status.Reachable, "the library answers from memory, the TPM does not")
		require.False(t, status.PINLatched)
		tpm.PowerOn()
		recovers(t, signer)
		require.True(t, opened.Status(t.Context()).Reachable)
	}

	tpm.Signal(syscall.SIGSTOP)
	require.True(t, fault.Is(sign(signer), fault.Unavailable))
	require.Contains(t, opened.Status(t.Context()).LastError, "has not come back")
	tpm.Signal(syscall.SIGCONT)
	recovers(t, signer)
}

func TestHSM1_ChangedPINIsOfferedOnceAfterALoss(t *testing.T) {
	tpm := token.NewTPM(t)
	made := tpm.Token("change")
	opened := open(t, inTPM(made))
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	tool(t, made, "--change-pin", "--new-pin", "another-1")
	tpm.PowerOff()
	require.True(t, fault.Is(sign(signer), fault.Unavailable))
	tpm.PowerOn()
	before := wrongPINs(t, tpm) // a TPM that lost its power unprepared counts that as well
	_, err = eventually(t, func() (struct{}, error) { return struct{}{}, sign(signer) })
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	require.Equal(t, before+1, wrongPINs(t, tpm))
	refused := time.Now()
	wait.Until(t, "three seconds have passed", func() bool {
		require.Error(t, sign(signer))
		return time.Since(refused) > 3*time.Second // longer than any pause between attempts
	})
	require.Equal(t, before+1, wrongPINs(t, tpm), "the PIN of the config was offered again by itself")
	require.True(t, opened.Status(t.Context()).PINLatched)

	renewed := inTPM(made)
	renewed.PIN = "another-1"
	again, err := hsm.Offer(t.Context(), renewed)
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, hsmtest.Verify(signer))
}

func TestHSM1_LockedTPMRecoversWithoutAnOperator(t *testing.T) {
	tpm := token.NewTPM(t)
	config := inTPM(tpm.Token("locked"))
	for range 20 {
		wrong := config
		wrong.PIN = "wrong"
		_, err := hsm.Open(t.Context(), wrong)
		require.ErrorIs(t, err, hsm.ErrWrongPIN)
	}
	require.Equal(t, 1, wrongPINs(t, tpm))
	opened := open(t, config)
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	for i := range token.MaxTries {
		wrong := config
		wrong.PIN = "wrong " + strconv.Itoa(i)
		_, err := hsm.Offer(t.Context(), wrong)
		require.Error(t, err)
	}
	require.Equal(t, token.MaxTries, wrongPINs(t, tpm))
	err = sign(signer)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Contains(t, err.Error(), "accepts no PIN now")
	require.False(t, opened.Status(t.Context()).PINLatched, "nobody has judged the right PIN")

	tpm.Tool("tpm2_dictionarylockout", "--clear-lockout")
	recovers(t, signer)
}

func TestTPMRefusesWhatItCannotDo(t *testing.T) {
	opened := open(t, inTPM(token.NewTPM(t).Token("able")))
	for spec, text := range map[cert.KeySpec]string{
		cert.RSA4096:      "cannot do this",
		cert.Edwards25519: "CKM_EC_EDWARDS_KEY_PAIR_GEN",
	} {
		_, _, err := opened.Generate(t.Context(), spec, []byte(spec.String()), "")
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", spec, err)
		require.Contains(t, err.Error(), text)
	}
	require.True(t, opened.Status(t.Context()).Reachable)
}

func TestKeysOfATPMAsOtherSoftwareSeesThem(t *testing.T) {
	made := token.NewTPM(t).Token("seen by others")
	opened := open(t, inTPM(made))
	for id, spec := range map[string]cert.KeySpec{"\x01": cert.P384, "\x02": cert.RSA2048} {
		_, _, err := opened.Generate(t.Context(), spec, []byte(id), "issuing")
		require.NoError(t, err)
	}
	out := tool(t, made, "--list-objects", "--type", "privkey", "--id", "01")
	require.Regexp(t, `Usage:\s+sign\n`, out, "signs and nothing else")
	require.Regexp(t, `Access:\s+sensitive, always sensitive, never extractable, local\n`, out)
	out = tool(t, made, "--list-objects", "--type", "privkey", "--id", "02")
	require.Regexp(t, `Usage:\s+decrypt, sign\n`, out, "tpm2-pkcs11 signs with RSA by decrypting")
	require.Regexp(t, `Access:\s+sensitive, always sensitive, never extractable, local\n`, out)
}

func TestKeyThatFailsTakesNoOtherAlong(t *testing.T) {
	made := token.NewTPM(t).Token("bad key")
	opened := open(t, inTPM(made))
	good, _, err := opened.Generate(t.Context(), cert.P256, []byte("good"), "")
	require.NoError(t, err)
	bad, err := opened.Find(t.Context(), []byte("bad"), uselessRSA(t, made, []byte("bad")))
	require.NoError(t, err)
	for range 20 {
		err := sign(bad)
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		require.NoError(t, sign(good), "beside a key that always fails")
	}
	require.True(t, opened.Status(t.Context()).Reachable)
}

// uselessRSA makes an RSA key that does not decrypt, which tpm2-pkcs11 allows and
// with which it then cannot sign. The library is initialised and logged in.
func uselessRSA(t *testing.T, made *token.Token, id []byte) *rsa.PublicKey {
	t.Helper()
	raw := pkcs11.New(made.Module)
	require.NotNil(t, raw)
	slots, err := raw.GetSlotList(true)
	require.NoError(t, err)
	session, err := raw.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	defer func() { require.NoError(t, raw.CloseSession(session)) }()
	public, _, err := raw.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_ID, id),
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 2048),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_ID, id),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		})
	require.NoError(t, err)
	values, err := raw.GetAttributeValue(session, public, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil)})
	require.NoError(t, err)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(values[0].Value), E: 65537}
}
