package sign

import (
	"encoding/asn1"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// oidSmtpUTF8Mailbox is the other name of a mailbox whose local part is not ASCII (RFC
// 9598 section 3, id-on-SmtpUTF8Mailbox).
var oidSmtpUTF8Mailbox = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}

// smtpUTF8Mailbox returns the mailbox of an other name, "" for one of another type. Its
// domain is returned in the form in which rfc822Name constraints name domains: they bind
// these mailboxes as well (RFC 9598 section 6).
func smtpUTF8Mailbox(other cryptobyte.String) (string, error) {
	var oid asn1.ObjectIdentifier
	var explicit, value cryptobyte.String
	if !other.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidSmtpUTF8Mailbox) {
		return "", nil
	}
	refuse := fault.New(fault.Invalid, "other name of type %s must be a mailbox in UTF-8 (RFC 9598)", oid)
	if !other.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) || !other.Empty() ||
		!explicit.ReadASN1(&value, cbasn1.UTF8String) || !explicit.Empty() || !utf8.Valid(value) {
		return "", refuse
	}
	mailbox := string(value)
	at := strings.LastIndexByte(mailbox, '@')
	if at <= 0 {
		return "", refuse
	}
	domain, err := cert.NormaliseDNS(mailbox[at+1:])
	if err != nil {
		return "", fault.New(fault.Invalid, "other name of type %s: %w", oid, err)
	}
	return mailbox[:at] + "@" + domain, nil
}
