package ocsp

import (
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// statement is what a response says about one certificate.
type statement struct {
	issuer string // "" when none has issued it
	serial cert.Serial
	status CertStatus // State Unknown: never issued
}

// signed is a signed response with everything that it was made from: it is used
// again only while all of that still holds, so that nothing has to be told when a
// certificate is revoked. It does not change once it is in the cache.
type signed struct {
	key      string
	der      []byte
	made     time.Time
	until    time.Time // half of its life
	next     time.Time // nextUpdate
	table    *table
	issuers  []string
	signer   *Signer
	settings *Settings
	said     []statement

	newer, older *signed // neighbours in the cache, guarded by its lock
}

// thisUpdate returns since when the response is valid.
func (s *signed) thisUpdate() time.Time { return s.made.Add(-s.settings.Backdate) }

// answer returns the response as it is given out.
func (s *signed) answer(now time.Time) Answer {
	return Answer{
		DER: s.der, Status: Successful, ThisUpdate: s.thisUpdate(), NextUpdate: s.next,
		MaxAge: max(s.until.Sub(now), 0),
	}
}

// sign fills in the response and how long it lasts.
func (s *signed) sign(asked *Request) error {
	s.until = s.made
	if s.settings.Expiry > 0 {
		// Beyond the end of the responder's certificate nobody could verify it.
		s.next = s.made.Add(s.settings.Expiry)
		if end := s.signer.Certificate().NotAfter; s.next.After(end) {
			s.next = end
		}
		s.until = s.made.Add(s.next.Sub(s.made) / 2)
	}
	response := Response{ThisUpdate: s.thisUpdate(), NextUpdate: s.next, Nonce: asked.Nonce, Singles: make([]Single, len(s.said))}
	for i := range s.said {
		response.Singles[i] = s.single(asked.CertIDs[i], &s.said[i].status)
		response.ExtendedRevoked = response.ExtendedRevoked || s.said[i].issuer == "" && response.Singles[i].State == Revoked
	}
	var err error
	s.der, err = s.signer.Encode(response)
	return err
}

// single says what a status means.
func (s *signed) single(id CertID, status *CertStatus) Single {
	answer := Single{CertID: id.Raw, State: status.State}
	if cutoff := s.settings.ArchiveCutoff; cutoff > 0 && status.State != Unknown {
		answer.ArchiveCutoff = s.thisUpdate().Add(-cutoff)
	}
	switch {
	case status.State == Unknown && s.settings.NeverIssued == SayRevoked:
		// RFC 6960 section 2.2 prescribes both.
		answer.State, answer.RevokedAt, answer.Reason = Revoked, time.Unix(0, 0).UTC(), cert.CertificateHold
	case status.State == Revoked:
		answer.RevokedAt, answer.Reason = status.RevokedAt, status.Reason
		if !status.Reason.Known() || status.Reason == cert.RemoveFromCRL {
			// A reason that makes no sense must not hide the revocation.
			answer.Reason = cert.Unspecified
		}
	}
	return answer
}
