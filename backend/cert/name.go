package cert

import (
	"net"
	"net/url"
)

// OtherName is a GeneralName of type otherName: an OID in dotted form and a
// UTF8String value, which is what the built-in engine's other_sans carries.
type OtherName struct {
	OID   string
	Value string
}

// Names is the set of subject alternative names of one certificate, already
// normalised: DNS names lower case, in A-label form, without a trailing dot.
type Names struct {
	DNS   []string
	IP    []net.IP
	Email []string
	URI   []*url.URL
	Other []OtherName
}

// Count returns how many names the set holds.
func (n Names) Count() int {
	return len(n.DNS) + len(n.IP) + len(n.Email) + len(n.URI) + len(n.Other)
}
