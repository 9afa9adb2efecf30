package schema

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// envelope carries a request's data past the framework to the operation.
type envelope struct {
	data map[string]any
	log  hclog.Logger
}

type envelopeKey struct{}

// Handle answers a request. The framework only routes: it does not see the data,
// because its own validation repeats values in its messages and lets unknown fields
// through. A panic is answered with 500 and kills no other mount of this process.
func Handle(ctx context.Context, backend *framework.Backend, req *logical.Request) (response *logical.Response, err error) {
	log := backend.Logger()
	defer func() {
		if cause := recover(); cause != nil {
			logPanic(log, req, cause)
			response, err = nil, logical.CodedError(http.StatusInternalServerError, "internal error; the server log has the details")
		}
	}()
	switch req.Operation {
	case logical.HelpOperation:
		response, err = backend.HandleRequest(ctx, req)
		inline(response, backend.Paths)
		return response, err
	case logical.RenewOperation, logical.RevokeOperation, logical.RollbackOperation, logical.RotationOperation:
		return backend.HandleRequest(ctx, req)
	}
	routed := *req
	routed.Data = nil
	ctx = context.WithValue(ctx, envelopeKey{}, &envelope{data: req.Data, log: log})
	return backend.HandleRequest(ctx, &routed)
}

// bodyOf returns the request's data: from the envelope, or from the request when
// it was not routed by Handle.
func bodyOf(ctx context.Context, req *logical.Request) map[string]any {
	if carried, ok := ctx.Value(envelopeKey{}).(*envelope); ok {
		return carried.data
	}
	return req.Data
}

// logPanic logs where, never with what: a panic's value may hold request data.
func logPanic(log hclog.Logger, req *logical.Request, cause any) {
	what, stack := fault.Panicked(cause)
	log.Error("request panicked", "operation", req.Operation, "path", clip(req.Path), "request", req.ID,
		"cause", what, "stack", stack)
}

func clip(path string) string {
	if len(path) > 200 {
		return path[:200] + "..."
	}
	return path
}

// flatten is the one place where an error becomes what crosses the plugin boundary.
// Only sentinels and unwrapped coded errors keep their status there. With a
// sentinel beside an error response the client reads our text alone; a coded error
// is the only way to the other statuses.
func flatten(ctx context.Context, req *logical.Request, err error) (*logical.Response, error) {
	if coded, ok := errors.AsType[logical.HTTPCodedError](err); ok {
		return nil, logical.CodedError(coded.Code(), err.Error())
	}
	kind := fault.KindOf(err)
	if errors.Is(err, logical.ErrReadOnly) {
		kind = fault.ReadOnly
	}
	switch kind {
	case fault.Invalid, fault.TooLarge:
		return logical.ErrorResponse(Outward(err)), logical.ErrInvalidRequest
	case fault.Denied:
		return logical.ErrorResponse(Outward(err)), logical.ErrPermissionDenied
	case fault.Throttled:
		return logical.ErrorResponse(Outward(err)), logical.ErrRateLimitQuotaExceeded
	case fault.ReadOnly:
		// A standby's server forwards the request to the leader when it sees this.
		return nil, logical.ErrReadOnly
	case fault.NotFound, fault.Conflict, fault.Unavailable:
		return nil, logical.CodedError(kind.HTTPStatus(), Outward(err))
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil, logical.CodedError(fault.Unavailable.HTTPStatus(), "the request was cancelled before it was answered")
	}
	if carried, ok := ctx.Value(envelopeKey{}).(*envelope); ok {
		carried.log.Error("request failed", "operation", req.Operation, "path", clip(req.Path), "request", req.ID, "error", err)
	}
	return nil, logical.CodedError(http.StatusInternalServerError, Outward(err))
}

// maxMessage is the most bytes of a message: refusals repeat names, and a name may be
// as long as the request.
const maxMessage = 2 << 10

// Outward is what a client reads of an error: its text or, of an internal one, the
// chain of what was being done, without the last cause, which is not ours unless
// package fault made it. It is a sentence, however long the request was.
func Outward(err error) string {
	text := outward(err)
	if len(text) > maxMessage {
		return strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

func outward(err error) string {
	if fault.KindOf(err) != fault.Internal {
		return err.Error()
	}
	const unsaid = "internal error; the server log has the details"
	doing := ""
	for err != nil {
		if _, ours := errors.AsType[*fault.Error](err); ours && errors.Unwrap(err) == nil {
			return doing + err.Error()
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		outer, cut := strings.CutSuffix(err.Error(), inner.Error())
		if !cut {
			break
		}
		doing += outer
		err = inner
	}
	return doing + unsaid
}
