package revoke

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

const (
	// pagesAtOnce keeps storage busy, whose writes wait for a disk, and leaves room for
	// requests.
	pagesAtOnce = 8
	// failuresInRow end a run: it is storage that fails, and not a page.
	failuresInRow = 16
)

// work revokes what a survey found.
//
// Each page is revoked as RevokePage has it, by itself: if we crash between two pages,
// what came before is revoked, a restart rebuilds the CRLs that lack it, and the same
// order goes on with the rest. A page that cannot be read or written does not keep the
// others from being revoked.
func (b *Bulk) work(ctx context.Context, order Order, p *plan) error {
	w := &work{Bulk: b, order: order, issuers: map[string]bool{}}
	// Once at the end for each issuer, however the run ends: the CRL and everything
	// that follows it learn of all in one.
	defer w.publish()
	w.key, _ = ParseKey(order.Key)
	w.revocation = ledger.Revocation{
		At: b.revoke.config.Now(), Reason: order.Reason, InvalidityAt: order.InvalidityAt, Comment: order.Comment,
	}
	var group errgroup.Group
	group.SetLimit(pagesAtOnce)
	for _, page := range p.pages {
		if ctx.Err() != nil || w.hopeless() {
			break
		}
		group.Go(func() error {
			w.page(ctx, page)
			return nil
		})
	}
	_ = group.Wait() // every failure is in w
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.verdict()
}

// work is one run under way.
type work struct {
	*Bulk
	order      Order
	key        cert.Fingerprint
	revocation ledger.Revocation

	mu      sync.Mutex      // guards what follows
	issuers map[string]bool // whose lists change
	failed  int             // pages
	inRow   int             // failures since the last page that went well
	first   error           // of the failures
}

// page revokes the certificates of one page and counts.
func (w *work) page(ctx context.Context, serials []cert.Serial) {
	news, err := w.revokePage(ctx, serials)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range news {
		w.issuers[news[i].Issuer] = true
	}
	switch {
	case err == nil:
		w.inRow = 0
	case ctx.Err() != nil:
		return // cut short, and looked at again by the next run
	default:
		w.failed++
		w.inRow++
		if w.first == nil {
			w.first = err
		}
		w.log.Warn("page could not be revoked", "certificate", serials[0].String(), "error", err)
	}
	w.tell(func(r *Run) {
		r.Done.Pages++
		r.Done.Revoked += len(news)
		r.Done.Failed = w.failed
	})
}

// revokePage outlives a panic: the goroutine is not the job's.
func (w *work) revokePage(ctx context.Context, serials []cert.Serial) (news []ledger.Row, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			w.log.Error("revoking a page panicked", "certificate", serials[0].String(), "cause", what, "stack", stack)
			err = fault.New(fault.Internal, "revoking the page of %s: internal error", serials[0])
		}
	}()
	return w.revoke.config.Ledger.RevokePage(ctx, serials, w.revocation, func(record *ledger.Record) (bool, error) {
		// Rows name 64 bits of a key.
		return w.order.Key == "" || record.KeyHash == w.key, nil
	})
}

func (w *work) hopeless() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inRow >= failuresInRow
}

// verdict returns an error when pages failed.
func (w *work) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d pages could not be revoked, order it again to go on; the first: %w", w.failed, w.first)
}

// publish tells of the issuers whose lists change.
func (w *work) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for issuer := range w.issuers {
		w.revoke.config.Changed(issuer, w.order.Reason)
	}
}
