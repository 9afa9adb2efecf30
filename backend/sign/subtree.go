package sign

import (
	"crypto/x509/pkix"
	"slices"
	"strings"
)

type extension = pkix.Extension

// below reports whether a name is a subdomain of a domain, binding at a dot.
func below(domain, name string) bool {
	return len(name) > len(domain)+1 && strings.HasSuffix(name, domain) && name[len(name)-len(domain)-1] == '.'
}

// permitsDNS: "example.com" permits itself and all below; ".example.com", which the
// RFC does not define, only what is below (erratum 5997); "" everything.
func permitsDNS(subtree, name string) bool {
	name = strings.ToLower(name)
	if domain, only := strings.CutPrefix(subtree, "."); only {
		return below(domain, name)
	}
	return subtree == "" || name == subtree || below(subtree, name)
}

// excludesDNS also sees that "*.example.com" stands for "www.example.com".
func excludesDNS(subtree, name string) bool {
	subtree, name = strings.TrimPrefix(subtree, "."), strings.ToLower(name)
	if permitsDNS(subtree, name) {
		return true
	}
	parent, wildcard := strings.CutPrefix(name, "*.")
	_, above, _ := strings.Cut(subtree, ".")
	return wildcard && parent == above
}

// permitsHost: of a URI's hosts "host.example.com" permits that one, ".example.com"
// all below.
func permitsHost(subtree, host string) bool {
	host = strings.ToLower(host)
	if domain, only := strings.CutPrefix(subtree, "."); only {
		return below(domain, host)
	}
	return subtree == "" || host == subtree
}

func excludesHost(subtree, host string) bool { return excludesDNS(subtree, host) }

// permitsEmail: "a@example.com" permits that mailbox, the rest is about its host.
func permitsEmail(subtree, mailbox string) bool {
	local, host := splitMailbox(mailbox)
	if strings.Contains(subtree, "@") {
		return subtree == local+"@"+strings.ToLower(host)
	}
	return permitsHost(subtree, host)
}

// excludesEmail compares local parts without case: most mail systems do.
func excludesEmail(subtree, mailbox string) bool {
	_, host := splitMailbox(mailbox)
	if strings.Contains(subtree, "@") {
		return strings.EqualFold(subtree, mailbox)
	}
	return excludesDNS(subtree, host)
}

func splitMailbox(mailbox string) (local, host string) {
	at := strings.LastIndexByte(mailbox, '@')
	return mailbox[:max(at, 0)], mailbox[at+1:]
}

// distinguishedName is a Name as cert.NameRDNs returns it: in the form that compares
// as RFC 5280 section 7.1 says.
type distinguishedName []string

// under reports whether the name lies in the subtree of a base.
func (n distinguishedName) under(base distinguishedName) bool {
	return len(n) >= len(base) && slices.Equal(n[:len(base)], base)
}

// String is for messages.
func (n distinguishedName) String() string { return strings.Join(n, ",") }
