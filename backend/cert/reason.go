package cert

import (
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Reason is a CRLReason of RFC 5280 section 5.3.1.
type Reason uint8

// The reasons. 7 is not used by the RFC.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

var reasonNames = map[Reason]string{
	Unspecified:          "unspecified",
	KeyCompromise:        "keyCompromise",
	CACompromise:         "cACompromise",
	AffiliationChanged:   "affiliationChanged",
	Superseded:           "superseded",
	CessationOfOperation: "cessationOfOperation",
	CertificateHold:      "certificateHold",
	RemoveFromCRL:        "removeFromCRL",
	PrivilegeWithdrawn:   "privilegeWithdrawn",
	AACompromise:         "aACompromise",
}

// Reasons lists every reason once, in the order of their numbers.
func Reasons() []Reason {
	return []Reason{
		Unspecified, KeyCompromise, CACompromise, AffiliationChanged, Superseded,
		CessationOfOperation, CertificateHold, RemoveFromCRL, PrivilegeWithdrawn, AACompromise,
	}
}

// String returns the name of the reason as RFC 5280 writes it.
func (r Reason) String() string { return reasonNames[r] }

// Known reports whether the RFC defines the reason.
func (r Reason) Known() bool { return reasonNames[r] != "" }

// ParseReason reads a reason's name in any case, with or without "_" and "-"; the
// empty text is Unspecified.
func ParseReason(text string) (Reason, error) {
	fold := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(text))
	if fold == "" {
		return Unspecified, nil
	}
	names := make([]string, 0, len(reasonNames))
	for _, r := range Reasons() {
		if strings.ToLower(r.String()) == fold {
			return r, nil
		}
		names = append(names, r.String())
	}
	return 0, fault.Field("reason", "must be %s", fault.List(names))
}
