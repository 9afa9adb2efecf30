package cert

import (
	"crypto/x509"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Scheme is the padding of RSA signatures (RFC 8017 section 8).
type Scheme string

// The schemes; the empty Scheme is PKCS1v15.
const (
	PKCS1v15 Scheme = "pkcs1v15"
	PSS      Scheme = "pss"
)

type signatureRow struct {
	keyType KeyType
	scheme  Scheme
	bits    int
	x509    x509.SignatureAlgorithm
}

// signatureTable holds every signature algorithm that is made here.
var signatureTable = []signatureRow{
	{RSA, PKCS1v15, 256, x509.SHA256WithRSA},
	{RSA, PKCS1v15, 384, x509.SHA384WithRSA},
	{RSA, PKCS1v15, 512, x509.SHA512WithRSA},
	{RSA, PSS, 256, x509.SHA256WithRSAPSS},
	{RSA, PSS, 384, x509.SHA384WithRSAPSS},
	{RSA, PSS, 512, x509.SHA512WithRSAPSS},
	{EC, "", 256, x509.ECDSAWithSHA256},
	{EC, "", 384, x509.ECDSAWithSHA384},
	{EC, "", 512, x509.ECDSAWithSHA512},
	{Ed25519, "", 0, x509.PureEd25519},
}

// SignatureAlgorithm returns the algorithm with which a key of the spec signs.
// hashBits is 256, 384 or 512; 0 picks SHA-256 for RSA, the hash as strong as the
// curve for EC (RFC 5480 section 4), and is the only choice for Ed25519.
func SignatureAlgorithm(spec KeySpec, hashBits int, scheme Scheme) (x509.SignatureAlgorithm, error) {
	switch {
	case scheme != "" && scheme != PKCS1v15 && scheme != PSS:
		return 0, fault.New(fault.Invalid, "signature scheme %q must be %s or %s", scheme, PKCS1v15, PSS)
	case spec.Type == RSA && scheme == "":
		scheme = PKCS1v15
	case spec.Type != RSA && scheme == PSS:
		return 0, fault.Field("use_pss", "needs an RSA key, not %s", spec)
	case spec.Type != RSA:
		scheme = ""
	}
	if hashBits == 0 {
		hashBits = defaultHashBits(spec)
	}
	for _, row := range signatureTable {
		if row.keyType == spec.Type && row.scheme == scheme && row.bits == hashBits {
			return row.x509, nil
		}
	}
	if spec.Type == Ed25519 {
		return 0, fault.Field("signature_bits", "must be 0 for ed25519, which has a hash of its own")
	}
	return 0, fault.Field("signature_bits", "must be 256, 384 or 512 for %s, not %d", spec, hashBits)
}

func defaultHashBits(spec KeySpec) int {
	switch {
	case spec.Type == Ed25519:
		return 0
	case spec.Type == EC && spec.Bits == 384:
		return 384
	case spec.Type == EC && spec.Bits == 521:
		return 512
	}
	return 256
}

// SuitsKey reports whether keys of a family make signatures of the algorithm, and
// whether the algorithm is one that is made here.
func SuitsKey(algorithm x509.SignatureAlgorithm, keyType KeyType) bool {
	for _, row := range signatureTable {
		if row.x509 == algorithm {
			return row.keyType == keyType
		}
	}
	return false
}
