package revoke

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// leaseReasons are the reasons for which the end of a lease revokes: the first one that
// the profile allows. No profile forbids the last.
var leaseReasons = []cert.Reason{cert.Unspecified, cert.CessationOfOperation, cert.PrivilegeWithdrawn}

// EndOfLease revokes the certificate of a lease that ended. Nobody is there to choose
// another reason, so a profile never keeps it from being revoked (rev-4).
func (s *Service) EndOfLease(ctx context.Context, serial cert.Serial) (*Result, error) {
	var result *Result
	var err error
	for _, reason := range leaseReasons {
		result, err = s.BySerial(ctx, serial, Request{Reason: reason})
		if fault.FieldOfError(err) != "reason" {
			break
		}
	}
	return result, err
}
