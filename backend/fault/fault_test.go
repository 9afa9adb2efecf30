package fault_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestEveryKindHasARow(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range fault.Kinds() {
		require.NotEmpty(t, kind.String(), "kind %d", kind)
		require.False(t, seen[kind.String()], "name %q twice", kind)
		seen[kind.String()] = true
		require.GreaterOrEqual(t, kind.HTTPStatus(), 400)
		require.NotEmpty(t, kind.ACMEProblem())
		require.NotZero(t, kind.ExitCode())
	}
}

func TestKindSurvivesWrapping(t *testing.T) {
	inner := fault.Field("common_name", "must not be empty")
	err := fmt.Errorf("signing for role web: %w", inner)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, "common_name", fault.FieldOfError(err))
	require.Equal(t, "signing for role web: common_name: must not be empty", err.Error())
}

func TestOuterKindWins(t *testing.T) {
	err := fault.New(fault.Unavailable, "opening token a: %w", fault.New(fault.NotFound, "no such token"))
	require.True(t, fault.Is(err, fault.Unavailable))
	require.False(t, fault.Is(err, fault.NotFound))
}

func TestCausesStayReachable(t *testing.T) {
	require.ErrorIs(t, fault.New(fault.Internal, "reading: %w", io.ErrUnexpectedEOF), io.ErrUnexpectedEOF)
	require.ErrorIs(t, fault.New(fault.Internal, "%w and %w", io.EOF, io.ErrClosedPipe), io.ErrClosedPipe)
	require.NoError(t, errors.Unwrap(fault.New(fault.Invalid, "plain")))
}

func TestUnclassifiedIsInternal(t *testing.T) {
	require.Equal(t, fault.Internal, fault.KindOf(io.EOF))
	require.False(t, fault.Is(nil, fault.Internal))
}

func TestList(t *testing.T) {
	require.Equal(t, "a, b or c", fault.List([]string{"a", "b", "c"}))
	require.Equal(t, "nothing", fault.List(nil))
}

func TestPanickedNeverShowsTheValue(t *testing.T) {
	catch := func(work func()) (what, stack string) {
		defer func() { what, stack = fault.Panicked(recover()) }()
		work()
		return
	}
	what, stack := catch(func() { panic(errors.New("the PIN is 1234")) })
	require.NotContains(t, what+stack, "1234")
	require.Contains(t, what, "errors.errorString")
	require.Contains(t, stack, "TestPanickedNeverShowsTheValue")

	var none []int
	what, _ = catch(func() { none[0]++ })
	require.Contains(t, what, "index out of range")
}

func TestNearestIsTheNameThatWasMeant(t *testing.T) {
	names := []string{"allowed_domains", "common_name", "csr", "label", "serial", "serial_number", "text"}
	for misspelled, meant := range map[string]string{
		"allowed_domain": "allowed_domains", "lable": "label", "Label": "label", "txet": "text", "label": "label",
		"cn": "common_name", "ad": "allowed_domains", "domains": "allowed_domains", "number": "serial_number", "xy": "",
		"slot": "", "": "", strings.Repeat("label", 20): "",
	} {
		require.Equal(t, meant, fault.Nearest(misspelled, names), misspelled)
	}
}

func TestAFieldIsNamedOnce(t *testing.T) {
	inner := fault.Field("reason", "must be superseded")
	require.Equal(t, "reason: must be superseded", fault.Field("reason", "%w", inner).Error())
	require.Equal(t, "csr: reason: must be superseded", fault.Field("csr", "%w", inner).Error())
	require.ErrorIs(t, fault.Field("reason", "%w", inner), inner)
}
