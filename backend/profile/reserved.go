package profile

import (
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// What a CA certificate remembers whose request spelled out what it shall be, with
// version 0.
const (
	SpelledRoot  = "root"
	SpelledSubCA = "sign-intermediate"
)

// laterPresets are the names of the catalogue that no release has shipped yet. A
// profile that had such a name would get in the preset's way later.
var laterPresets = []string{
	"workload-ephemeral",
	"ad-domain-controller", "ad-smartcard-logon", "ad-machine", "dot1x",
	"radius-server", "rdp-server",
	"smime-sign", "smime-encrypt",
	"timestamping", "document-signing",
	"ipsec-gateway", "ipsec-client",
	"k8s-apiserver", "k8s-kubelet-client", "k8s-kubelet-serving", "k8s-etcd", "k8s-front-proxy",
	"data-encryption", "device-ldevid", "enrollment-agent", "key-recovery-agent",
}

// ReservedNames lists the names that no stored profile may have (past-1): those of
// all presets, shipped or to come, and those of CA certificates without a profile.
// What such a name and version 0 mean is part of the release.
func ReservedNames() []string {
	return slices.Concat(Presets(), laterPresets, []string{SpelledRoot, SpelledSubCA})
}

// Reserved reports whether a name is reserved, in any case.
func Reserved(name string) bool {
	return slices.ContainsFunc(ReservedNames(), func(r string) bool { return strings.EqualFold(r, name) })
}

// CheckUnreserved refuses a reserved name for a stored profile.
func CheckUnreserved(name string) error {
	folded := strings.ToLower(name)
	switch {
	case !Reserved(name):
		return nil
	case folded == SpelledRoot || folded == SpelledSubCA:
		return fault.Field("name", "%q is reserved for CA certificates that are issued without a profile: choose another name", name)
	case slices.Contains(laterPresets, folded):
		return fault.Field("name", "%q is reserved for a preset of a later release: choose another name, such as %s", name, CustomName(folded, 1))
	}
	return fault.Field("name", "%q is the name of a preset: choose another name, such as %s with preset=%s, and let roles name that",
		name, CustomName(folded, 1), folded)
}

// CustomName is the n-th name, from 1, that a stored profile may take instead of a
// reserved one.
func CustomName(name string, n int) string {
	if n == 1 {
		return name + "-custom"
	}
	return fmt.Sprintf("%s-custom-%d", name, n)
}
