package paths_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// TestHSM1_ANewlineAfterThePINCostsNoTry: files and echo end in one.
func TestHSM1_ANewlineAfterThePINCostsNoTry(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.OverGRPC(t)
	for _, end := range []string{"\n", "\r\n"} {
		m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN + end}).Expect(http.StatusOK)
		m.Patch(t, "hsm/main", map[string]any{"pin": k.PIN + end}).Expect(http.StatusOK)
	}
	require.Equal(t, true, m.Read(t, "hsm/main/status", nil).Data["reachable"])
}

func TestAWrongTokenIsRefusedWithThoseThatAreThere(t *testing.T) {
	k := token.New(t, "issuing")
	token.New(t, "other")
	m := pathstest.OverGRPC(t)
	for field, settings := range map[string]map[string]any{
		"token_label":  {"module": k.Module, "token_label": "isuing", "pin": k.PIN},
		"token_serial": {"module": k.Module, "token_serial": "0000", "pin": k.PIN},
	} {
		for _, declared := range []bool{false, true} {
			answer := m.Write(t, "hsm/main", settings)
			require.Equal(t, http.StatusBadRequest, answer.Status, answer.Errors)
			for _, word := range []string{field, `"issuing"`, k.Serial, `"other"`} {
				require.Contains(t, answer.Errors[0], word)
			}
			if !declared { // and the same when another token has that name
				m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
			}
		}
		require.Equal(t, true, m.Read(t, "hsm/main/status", nil).Data["reachable"])
		m.Delete(t, "hsm/main").OK()
	}
	slot := m.Write(t, "hsm/main", map[string]any{"module": k.Module, "slot": "0", "pin": k.PIN}).Expect(http.StatusBadRequest)
	require.Contains(t, slot.Errors[0], "did you mean token_label or token_serial?")
}

func TestKeysInTokensNeedTheNameOfATokenAndSayHowToFindIt(t *testing.T) {
	m := pathstest.InProcess(t)
	for _, path := range []string{"keys/generate/kms", "root/generate/kms", "intermediate/generate/kms", "issuers/generate/root/kms"} {
		ask := map[string]any{"key_type": "ec"}
		if path != "keys/generate/kms" {
			ask["common_name"] = "x"
		}
		answer := m.Write(t, path, ask).Expect(http.StatusBadRequest)
		require.Contains(t, answer.Errors[0], "hsm: is required for kms")
		require.Contains(t, answer.Errors[0], "vault list")
	}
	answer := m.Write(t, "keys/generate/internal", map[string]any{"hsm": "main"}).Expect(http.StatusBadRequest)
	require.Contains(t, answer.Errors[0], "/kms")
}

func TestTheStateOfATokenListsWhatTheEngineUses(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.InProcess(t)
	m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
	status := m.Read(t, "hsm/main/status", nil).Expect(http.StatusOK)
	require.Equal(t, []string{
		"CKM_RSA_PKCS_KEY_PAIR_GEN", "CKM_RSA_PKCS", "CKM_RSA_PKCS_PSS", "CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA", "CKM_EC_EDWARDS_KEY_PAIR_GEN", "CKM_EDDSA",
	}, status.Texts("mechanisms"))
	require.Empty(t, status.Texts("missing_mechanisms"))
	require.Greater(t, status.Number("mechanism_count"), int64(20))
}

// TestEachAnswerNamesTheKeyAlike: the value is compared with what pki-ceremony prints.
func TestEachAnswerNamesTheKeyAlike(t *testing.T) {
	m := pathstest.InProcess(t)
	made := m.Write(t, "keys/generate/internal", map[string]any{"key_type": "ec", "key_name": "ca"}).Expect(http.StatusOK)
	hash := made.Text("key_sha256")
	require.Len(t, strings.Split(hash, ":"), 32)
	require.Equal(t, hash, m.Read(t, "key/ca", nil).Text("key_sha256"))
	pending := m.Write(t, "intermediate/generate/existing", map[string]any{"common_name": "Issuing", "key_ref": "ca", "issuer_name": "issuing"}).Expect(http.StatusOK)
	require.Equal(t, hash, pending.Text("key_sha256"))
	require.Equal(t, hash, m.Read(t, "issuer/issuing", nil).Text("key_sha256"), "while it is pending")
	root := m.Write(t, "root/generate/existing", map[string]any{"common_name": "Root", "key_ref": "ca", "issuer_name": "root"}).Expect(http.StatusOK)
	require.Equal(t, hash, root.Text("key_sha256"))
	require.Equal(t, hash, m.Read(t, "issuer/root", nil).Text("key_sha256"))
}

// Terraform destroys a key and the request made with it in any order.
func TestDeletingAKeyTakesItsPendingIssuerAlong(t *testing.T) {
	m := pathstest.OverGRPC(t)
	made := m.Write(t, "intermediate/generate/internal", map[string]any{"common_name": "Issuing", "key_type": "ec", "issuer_name": "issuing"}).Expect(http.StatusOK)
	deleted := m.Delete(t, "key/"+made.Text("key_id")).OK()
	require.Len(t, deleted.Warnings, 1)
	require.Contains(t, deleted.Warnings[0], made.Text("issuer_id"))
	m.Read(t, "key/"+made.Text("key_id"), nil).Expect(http.StatusNotFound)
	require.NotEqual(t, http.StatusOK, m.Read(t, "issuer/issuing", nil).Status)
	m.Delete(t, "key/"+made.Text("key_id")).OK()
	m.Do(t, logical.DeleteOperation, "key/"+made.Text("key_id"), map[string]any{"force": true}).OK()
}
