package lint

import "crypto/x509"

// signatureUsages are what a key that can only sign may be used for.
const signatureUsages = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageCertSign | x509.KeyUsageCRLSign

var ed25519KeyUsage = rule{
	Rule: Rule{
		Name: "e_ed25519_key_usage_not_signature", Set: "rfc8410", Severity: Error, Citation: "RFC 8410: 5, updated by RFC 9295",
		Description: "An Ed25519 key can only sign, so its certificate must not have usages for encryption or key agreement.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if drafted.PublicKeyAlgorithm != x509.Ed25519 || drafted.KeyUsage&^signatureUsages == 0 {
			return ""
		}
		return "an Ed25519 key must not have key usages for encryption or key agreement"
	},
}
