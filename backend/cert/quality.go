package cert

import "crypto"

// CheckKey refuses public keys that are known to be weak (profiles.md, Keys): RSA
// below 2048 or above 8192 bits, exponents other than odd and >= 65537, small
// factors, Fermat-close primes, ROCA, Debian weak keys; curves other than P-256,
// P-384, P-521 and Ed25519.
func CheckKey(pub crypto.PublicKey) error { panic("not written") }
