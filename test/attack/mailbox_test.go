package attack_test

import (
	"net/http"
	"testing"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// Constraints on mailboxes bind those whose local part is not ASCII, too (RFC 9598
// section 6): they are other names, and mail readers show both alike.
func TestCA2_ConstraintsOnMailBindMailboxesInUTF8(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	subordinate(t, m, "root", "permits", body{"permitted_email_addresses": "corp.example"})
	subordinate(t, m, "root", "excludes", body{"excluded_email_addresses": "corp.example"})
	subordinate(t, m, "permits", "below", nil)
	m.Write(t, "roles/mail", body{"allow_any_name": true, "key_type": "ec", "allowed_other_sans": "*", "require_cn": false, "ttl": "1h"}).Expect(http.StatusOK)
	const mailbox, other = "1.3.6.1.5.5.7.8.9;UTF8:", "1.3.6.1.4.1.311.20.2.3;UTF8:"
	for _, test := range []struct {
		issuer, name string
		status       int
	}{
		{"permits", mailbox + "jürgen@corp.example", http.StatusOK},
		{"below", mailbox + "jürgen@CORP.example", http.StatusOK},
		{"permits", mailbox + "jürgen@evil.org", http.StatusBadRequest},
		{"below", mailbox + "jürgen@evil.org", http.StatusBadRequest},
		{"permits", mailbox + "jürgen@evil.org@sub.corp.example", http.StatusBadRequest},
		{"permits", mailbox + "jürgen", http.StatusBadRequest},
		{"excludes", mailbox + "jürgen@corp.example", http.StatusBadRequest},
		{"excludes", mailbox + "jürgen@a.corp.example", http.StatusBadRequest},
		{"excludes", mailbox + "jürgen@ｃorp.example", http.StatusBadRequest},
		{"excludes", mailbox + "jürgen@evil.org", http.StatusOK},
		{"permits", other + "jürgen@evil.org", http.StatusOK}, // no mailbox
	} {
		answer := m.Write(t, "issuer/"+test.issuer+"/issue/mail", body{"other_sans": test.name})
		if answer.Status != test.status {
			t.Errorf("%s %s: %d %v", test.issuer, test.name, answer.Status, answer.Errors)
		}
	}
}
