package profile

import "encoding/asn1"

// Extension OIDs that this room writes.
var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidPrivateKeyUsage  = asn1.ObjectIdentifier{2, 5, 29, 16}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidCRLDistribution  = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidPolicies         = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidFreshestCRL      = asn1.ObjectIdentifier{2, 5, 29, 46}
	oidNoRevAvail       = asn1.ObjectIdentifier{2, 5, 29, 56}                     // RFC 9608
	oidAIA              = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}        // RFC 5280 section 4.2.2.1
	oidTLSFeature       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}       // RFC 7633
	oidOCSPNoCheck      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}    // RFC 6960 section 4.2.2.2.1
	oidCPS              = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 1}        // RFC 5280 section 4.2.1.4
	oidUserNotice       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 2}        // RFC 5280 section 4.2.1.4
	oidUserID           = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}  // RFC 4519 section 2.39
	oidAppPolicies      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 10}    // Microsoft application policies
	oidSIDExtension     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 25, 2}     // Microsoft security identifier
	oidCTPoison         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3} // RFC 6962 section 3.1
)

// owned are the extensions that custom_extensions must not carry: the other
// fields decide them, or they would change whom a certificate stands for.
var owned = []asn1.ObjectIdentifier{
	oidSubjectKeyID, oidKeyUsage, oidPrivateKeyUsage, oidSubjectAltName, oidBasicConstraints,
	oidNameConstraints, oidCRLDistribution, oidPolicies, oidAuthorityKeyID, oidExtKeyUsage,
	oidFreshestCRL, oidNoRevAvail, oidAIA, oidTLSFeature, oidOCSPNoCheck, oidAppPolicies,
	oidSIDExtension, oidCTPoison,
}
