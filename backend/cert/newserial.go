package cert

import (
	"crypto/rand"
	"fmt"
)

// NewSerial returns a serial number for a certificate that no ledger page records,
// such as a root's: 20 octets, positive, 158 bits of which come from the operating
// system's generator (RFC 5280 section 4.1.2.2; the Baseline Requirements section
// 7.1 want 64).
func NewSerial() (Serial, error) {
	raw := make([]byte, MaxSerialOctets)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("making serial number: %w", err)
	}
	raw[0] = raw[0]&0x3f | 0x40 // 40 to 7f: positive, and always 20 octets
	return Serial(raw), nil
}
