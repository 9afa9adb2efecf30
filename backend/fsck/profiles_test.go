package fsck_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

func TestPast1_ProfilesThatCertificatesRemember(t *testing.T) {
	m := newMount(t)
	c := catalog.New(m.store)
	_, err := c.PutProfile(t.Context(), "web", profile.DefaultConfig())
	require.NoError(t, err)
	for _, ref := range []string{"web@1", "tls-server@0", "root@0", "sign-intermediate@0", "role:web", ""} {
		m.profile = ref
		m.issue(t, 1)
	}
	require.NoError(t, c.DeleteProfile(t.Context(), "web"))
	report, err := fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.Empty(t, report.Findings)

	for _, ref := range []string{"web@2", "web@0", "web", "tls-server@1", "root@1"} {
		broken := newMount(t)
		broken.put(t, layout.Profile+"web", m.store.Dump()[layout.Profile+"web"])
		broken.put(t, layout.ProfileVersion+"web/1", m.store.Dump()[layout.ProfileVersion+"web/1"])
		broken.profile = ref
		broken.issue(t, 1)
		report, err := fsck.Check(t.Context(), broken.store)
		require.NoError(t, err)
		require.ErrorContains(t, report.Err(), "profile "+ref+",")
		require.Equal(t, 1, report.Broken())
	}

	m.put(t, layout.Profile+"tls-client", []byte(`{"v":1,"r":{"latest":1}}`))
	report, err = fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Len(t, report.Findings, 1)
	require.Contains(t, report.Findings[0].String(), "notice profile/: profiles with reserved names have not been moved: tls-client")
}
