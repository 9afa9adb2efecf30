package tidy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// State says where a run is.
type State string

// The states, in the words of the built-in engine.
const (
	Inactive   State = "Inactive" // there was none
	Running    State = "Running"
	Cancelling State = "Cancelling"
	Finished   State = "Finished"
	Cancelled  State = "Cancelled"
	Failed     State = "Error"
)

// Run is what is known of a run, the one under way or the last.
type Run struct {
	Task     Task      `json:"task"`
	State    State     `json:"state"`
	Auto     bool      `json:"auto"` // started by itself
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	LastAuto time.Time `json:"last_auto"` // when the last one that started by itself ended
	Error    string    `json:"error,omitempty"`
	Message  string    `json:"message,omitempty"` // what it is doing
	Warnings []string  `json:"warnings,omitempty"`

	Removed ledger.Tidied `json:"removed"`
	Issuers int           `json:"issuers"` // removed
}

// work is one run under way.
type work struct {
	*Service
	task Task
	now  time.Time
	// issuers says of each issuer of the mount what rows of it may go.
	issuers map[string]standing
	// certificates are those of the issuers themselves, which stay as long as they do.
	certificates map[string]bool
}

// standing is what of an issuer decides on its revoked certificates.
type standing struct {
	lists *crl.Departure
	ended bool
}

// do removes what the task says: issuers first, since certificates of issuers that are
// gone wait for no CRL.
func (s *Service) do(ctx context.Context, task Task) error {
	w := &work{Service: s, task: task, now: s.Now()}
	if task.ExpiredIssuers {
		s.tell(func(r *Run) { r.Message = "Tidying issuers" })
		if err := w.expiredIssuers(ctx); err != nil {
			return err
		}
		if err := w.orphans(ctx); err != nil {
			return err
		}
	}
	if !task.CertStore && !task.RevokedCerts {
		return nil
	}
	if err := w.survey(ctx); err != nil {
		return err
	}
	pause, err := task.pause()
	if err != nil {
		return err
	}
	s.tell(func(r *Run) { r.Message = "Tidying certificates" })
	removed, err := s.Ledger.Tidy(ctx, ledger.TidyOptions{
		Buffer: time.Duration(task.SafetyBuffer) * time.Second, Keep: w.keeps, Pause: pause,
		Progress: func(so ledger.Tidied) {
			s.tell(func(r *Run) {
				r.Removed = so
				r.Message = fmt.Sprintf("Tidying certificates: %d removed", so.Certificates)
			})
		},
	})
	s.tell(func(r *Run) { r.Removed = removed })
	return err
}

// expiredIssuers removes issuers that ended long ago.
func (w *work) expiredIssuers(ctx context.Context) error {
	all, err := w.Issuers.List(ctx)
	if err != nil {
		return err
	}
	defaults, err := w.Issuers.Defaults(ctx)
	if err != nil {
		return err
	}
	limit := w.now.Add(-time.Duration(w.task.IssuerSafetyBuffer) * time.Second)
	for _, i := range all {
		if !i.Certificate().NotAfter.Before(limit) {
			continue
		}
		if i.ID() == defaults.Default {
			w.warn("the default issuer " + i.ID() + " ended long ago and stays: choose another in config/issuers to have it removed")
			continue
		}
		if err := w.removeIssuer(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) removeIssuer(ctx context.Context, i *issuer.Issuer) error {
	id := i.ID()
	// The certificate in the log is what it takes to bring the issuer back.
	w.Log.Info("removing an issuer that ended long ago", "issuer", id, "serial", i.Serial().String(),
		"not_after", i.Certificate().NotAfter, "certificate", pemOf(i))
	done, err := w.Issuers.Delete(ctx, id, issuer.DeleteOptions{})
	if err != nil {
		return fmt.Errorf("deleting issuer %s: %w", id, err)
	}
	w.tell(func(r *Run) { r.Issuers++ })
	if !done.Gone {
		return nil
	}
	return w.forget(ctx, done.CA)
}

// forget removes what other rooms keep for a CA that is gone. If we crash before it
// ends, orphans finds the rest.
func (w *work) forget(ctx context.Context, id string) error {
	if err := w.CRL.Forget(ctx, id); err != nil {
		return err
	}
	return w.OCSP.Forget(ctx, id)
}

// orphans removes what is left of CAs that are gone. URLs that certificates of theirs name
// stay until the last of these certificates has expired.
func (w *work) orphans(ctx context.Context) error {
	for _, stored := range []func(context.Context) ([]string, error){w.CRL.Stored, w.OCSP.Stored} {
		ids, err := stored(ctx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			ca, err := w.Issuers.CAOf(ctx, id)
			if err != nil {
				return err
			}
			members, err := w.Issuers.Members(ctx, ca)
			if err != nil {
				return err
			}
			if len(members) > 0 {
				continue
			}
			w.Log.Info("removing what is left of a CA that is gone", "ca", id)
			if err := w.forget(ctx, id); err != nil {
				return err
			}
		}
	}
	return w.Places.Sweep(ctx)
}

// survey finds out what decides on revoked certificates. CRLs that are made while the
// run goes on count in the next.
func (w *work) survey(ctx context.Context) error {
	all, err := w.Issuers.All(ctx)
	if err != nil {
		return err
	}
	w.issuers, w.certificates = map[string]standing{}, map[string]bool{}
	for _, i := range all {
		lists, err := w.CRL.Departure(ctx, i.ID())
		if err != nil {
			return err
		}
		members, err := w.Issuers.Members(ctx, i.CA())
		if err != nil {
			return err
		}
		ended := !slices.ContainsFunc(members, func(m *issuer.Issuer) bool { return !m.Certificate().NotAfter.Before(w.now) })
		for _, id := range i.IDs() {
			w.issuers[id] = standing{lists: lists, ended: ended}
		}
		w.certificates[string(i.Serial())] = true
	}
	return nil
}

// keeps is ledger.TidyOptions.Keep.
//
// A revoked certificate stays until it was on a CRL issued after its end (RFC 5280
// section 3.3), its shard included: a relying party with an older CRL or a slow clock
// learns of it before it goes; and as long as config/crl and its profile keep it on the
// list. No CRL comes any more of an issuer that has ended itself or is gone.
func (w *work) keeps(row ledger.Row) bool {
	if w.certificates[string(row.Serial)] {
		return true
	}
	if row.RevokedAt.IsZero() {
		return !w.task.CertStore
	}
	if !w.task.RevokedCerts {
		return true
	}
	by, known := w.issuers[row.Issuer]
	if !known || by.ended {
		return false
	}
	return !by.lists.Gone(&row)
}
