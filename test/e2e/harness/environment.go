package harness

import "strings"

// withoutVault drops the settings of the caller's own Vault and tokens.
func withoutVault(environment []string) []string {
	kept := make([]string, 0, len(environment))
	for _, setting := range environment {
		name, _, _ := strings.Cut(setting, "=")
		switch {
		case strings.HasPrefix(name, "VAULT_"), strings.HasPrefix(name, "PKI_"):
		case name == "HOME", name == "SOFTHSM2_CONF":
		default:
			kept = append(kept, setting)
		}
	}
	return kept
}
