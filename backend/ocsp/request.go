package ocsp

import (
	"bytes"
	"crypto"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// Status is an OCSPResponseStatus (RFC 6960 section 4.2.1).
type Status uint8

// The statuses. 4 is not used by the RFC; sigRequired (5) is never answered.
const (
	Successful       Status = 0
	MalformedRequest Status = 1
	InternalError    Status = 2
	TryLater         Status = 3
	Unauthorized     Status = 6
)

// Response returns the whole OCSPResponse of a status other than Successful, which
// has no responseBytes and no signature.
func (s Status) Response() []byte { return []byte{0x30, 3, 0x0a, 1, byte(s)} }

// MaxNonce is the longest nonce in octets (RFC 9654 section 2.1); the shortest is 1.
const MaxNonce = 128

// CertID names a certificate that is asked about.
type CertID struct {
	Raw      []byte // the DER as it came, which the response repeats
	Hash     crypto.Hash
	NameHash []byte
	KeyHash  []byte
	// Serial is empty when no certificate can have the number asked about: it is
	// negative, zero or longer than RFC 5280 allows.
	Serial cert.Serial
}

// Request is an OCSPRequest: what is asked. Who asks is not looked at.
type Request struct {
	CertIDs []CertID // 1 to MaxCertIDs
	Nonce   []byte   // nil: none

	list []byte // content of the requestList; nil when it is too long or says more than CertIDs
	// oddNonce says that a nonce is not what RFC 9654 makes of it. Clients of before that
	// RFC send octets that are in no OCTET STRING.
	oddNonce bool
}

// The extensions and hash algorithms that requests may name, as DER contents.
const (
	oidNonce    = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02" // 1.3.6.1.5.5.7.48.1.2
	oidResponse = "\x2b\x06\x01\x05\x05\x07\x30\x01\x04" // 1.3.6.1.5.5.7.48.1.4, acceptable responses
	oidBasic    = "\x2b\x06\x01\x05\x05\x07\x30\x01\x01" // 1.3.6.1.5.5.7.48.1.1
	oidSHA1     = "\x2b\x0e\x03\x02\x1a"
	oidSHA256   = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidSHA384   = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512   = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"
	oidCutoff   = "\x2b\x06\x01\x05\x05\x07\x30\x01\x06" // 1.3.6.1.5.5.7.48.1.6, archive cutoff
	oidExtended = "\x2b\x06\x01\x05\x05\x07\x30\x01\x09" // 1.3.6.1.5.5.7.48.1.9, extended revoked
)

// explicit returns the tag [number] EXPLICIT.
func explicit(number uint8) asn1.Tag { return asn1.Tag(number).Constructed().ContextSpecific() }

// ParseRequest reads an OCSPRequest in DER (RFC 6960 section 4.1.1) and returns
// Successful, or the status that refuses it: MalformedRequest for what is not an
// OCSP request or exceeds a cap, Unauthorized for one with a critical extension
// that is not understood (section 4.4). A signature on the request is accepted and
// not looked at: the answer is the same for everyone. Slices point into der.
func ParseRequest(der []byte) (*Request, Status) {
	request, status := parse(der)
	if status == Successful && request.oddNonce {
		return nil, MalformedRequest
	}
	return request, status
}

// parse is ParseRequest for one who may not look at nonces.
func parse(der []byte) (*Request, Status) {
	if len(der) > MaxRequest {
		return nil, MalformedRequest
	}
	input := cryptobyte.String(der)
	var whole, tbs, list, extensions cryptobyte.String
	var version int64
	var extended bool
	wellFormed := input.ReadASN1(&whole, asn1.SEQUENCE) && input.Empty() &&
		whole.ReadASN1(&tbs, asn1.SEQUENCE) &&
		whole.SkipOptionalASN1(explicit(0)) && whole.Empty() &&
		tbs.ReadOptionalASN1Integer(&version, explicit(0), int64(0)) && version == 0 &&
		tbs.SkipOptionalASN1(explicit(1)) &&
		tbs.ReadASN1(&list, asn1.SEQUENCE) &&
		tbs.ReadOptionalASN1(&extensions, &extended, explicit(2)) && tbs.Empty()
	if !wellFormed {
		return nil, MalformedRequest
	}
	request := &Request{}
	if extended {
		if status := request.readExtensions(extensions); status != Successful {
			return nil, status
		}
	}
	if len(list) <= maxAnswerKey {
		request.list = list
	}
	for !list.Empty() {
		if len(request.CertIDs) == MaxCertIDs {
			return nil, MalformedRequest
		}
		id, extended, status := readSingle(&list)
		if status != Successful {
			return nil, status
		}
		if extended {
			request.list = nil
		}
		request.CertIDs = append(request.CertIDs, id)
	}
	if len(request.CertIDs) == 0 {
		return nil, MalformedRequest
	}
	return request, Successful
}

// plainList returns the content of the requestList of a request that has nothing
// else, as nearly all have, and nil for every other. It allocates nothing.
func plainList(der []byte) []byte {
	input := cryptobyte.String(der)
	var whole, tbs, list cryptobyte.String
	plain := len(der) <= maxAnswerKey && input.ReadASN1(&whole, asn1.SEQUENCE) && input.Empty() &&
		whole.ReadASN1(&tbs, asn1.SEQUENCE) && whole.Empty() &&
		tbs.ReadASN1(&list, asn1.SEQUENCE) && tbs.Empty()
	if !plain {
		return nil
	}
	return list
}

// readSingle reads one Request of the requestList; extended says that it has
// extensions.
func readSingle(list *cryptobyte.String) (id CertID, extended bool, status Status) {
	var single, raw, extensions cryptobyte.String
	wellFormed := list.ReadASN1(&single, asn1.SEQUENCE) &&
		single.ReadASN1Element(&raw, asn1.SEQUENCE) &&
		single.ReadOptionalASN1(&extensions, &extended, explicit(0)) && single.Empty()
	if !wellFormed {
		return CertID{}, false, MalformedRequest
	}
	if extended {
		// None of the extensions of a single request is understood here.
		status := eachExtension(extensions, func(_ []byte, critical bool, _ cryptobyte.String) Status {
			if critical {
				return Unauthorized
			}
			return Successful
		})
		if status != Successful {
			return CertID{}, true, status
		}
	}
	id, status = readCertID(raw)
	return id, extended, status
}

// readCertID reads a CertID.
func readCertID(raw cryptobyte.String) (CertID, Status) {
	id := CertID{Raw: raw}
	var fields, algorithm, oid cryptobyte.String
	var name, key, serial cryptobyte.String
	wellFormed := raw.ReadASN1(&fields, asn1.SEQUENCE) &&
		fields.ReadASN1(&algorithm, asn1.SEQUENCE) && algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) && plain(algorithm) &&
		fields.ReadASN1(&name, asn1.OCTET_STRING) &&
		fields.ReadASN1(&key, asn1.OCTET_STRING) &&
		fields.ReadASN1(&serial, asn1.INTEGER) && fields.Empty() && minimal(serial)
	if !wellFormed {
		return CertID{}, MalformedRequest
	}
	id.Hash, id.NameHash, id.KeyHash = hashes[string(oid)], name, key
	if magnitude := bytes.TrimLeft(serial, "\x00"); serial[0] < 0x80 && len(magnitude) <= cert.MaxSerialOctets {
		id.Serial = cert.Serial(magnitude)
	}
	return id, Successful
}

// plain reports whether the parameters of a hash algorithm are NULL or absent (RFC
// 5754 section 2), so that one question has two spellings and not any number.
func plain(parameters cryptobyte.String) bool {
	return parameters.Empty() || bytes.Equal(parameters, []byte{5, 0})
}

// minimal reports whether an INTEGER's content has no octet too many (X.690
// section 8.3.2).
func minimal(content []byte) bool {
	switch {
	case len(content) == 0:
		return false
	case len(content) == 1:
		return true
	}
	return !(content[0] == 0 && content[1] < 0x80 || content[0] == 0xff && content[1] >= 0x80)
}

// readExtensions reads requestExtensions.
func (r *Request) readExtensions(extensions cryptobyte.String) Status {
	return eachExtension(extensions, func(oid []byte, critical bool, value cryptobyte.String) Status {
		switch string(oid) {
		case oidNonce:
			r.readNonce(value)
			return Successful
		case oidResponse:
			if !critical || acceptsBasic(value) {
				return Successful
			}
			return Unauthorized
		}
		if critical {
			return Unauthorized
		}
		return Successful
	})
}

// readNonce reads a Nonce ::= OCTET STRING(SIZE(1..128)), which may be there once
// (RFC 9654 section 2.1).
func (r *Request) readNonce(value cryptobyte.String) {
	var nonce cryptobyte.String
	if r.Nonce != nil || !value.ReadASN1(&nonce, asn1.OCTET_STRING) || !value.Empty() ||
		len(nonce) < 1 || len(nonce) > MaxNonce {
		r.oddNonce = true
		return
	}
	r.Nonce = nonce
}

// acceptsBasic reports whether AcceptableResponses names id-pkix-ocsp-basic.
func acceptsBasic(value cryptobyte.String) bool {
	var types, oid cryptobyte.String
	if !value.ReadASN1(&types, asn1.SEQUENCE) {
		return false
	}
	for types.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) {
		if string(oid) == oidBasic {
			return true
		}
	}
	return false
}

// eachExtension hands every Extension to see until one is refused.
func eachExtension(extensions cryptobyte.String, see func(oid []byte, critical bool, value cryptobyte.String) Status) Status {
	var all cryptobyte.String
	if !extensions.ReadASN1(&all, asn1.SEQUENCE) || !extensions.Empty() {
		return MalformedRequest
	}
	for !all.Empty() {
		var extension, oid, value cryptobyte.String
		critical := false
		wellFormed := all.ReadASN1(&extension, asn1.SEQUENCE) &&
			extension.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) &&
			(!extension.PeekASN1Tag(asn1.BOOLEAN) || extension.ReadASN1Boolean(&critical)) &&
			extension.ReadASN1(&value, asn1.OCTET_STRING) && extension.Empty()
		if !wellFormed {
			return MalformedRequest
		}
		if status := see(oid, critical, value); status != Successful {
			return status
		}
	}
	return Successful
}
