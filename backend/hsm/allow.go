package hsm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// modulesVariable is the environment variable with the allow-list.
const modulesVariable = "PKI_PKCS11_MODULES"

// wellKnown lists where vendors and distributions install their PKCS#11 libraries.
var wellKnown = []string{
	// SoftHSM
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	// p11-kit remoting
	"/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib64/pkcs11/p11-kit-client.so",
	// OpenSC: smart cards and USB tokens
	"/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
	"/usr/lib/aarch64-linux-gnu/opensc-pkcs11.so",
	"/usr/lib64/opensc-pkcs11.so",
	"/usr/lib64/pkcs11/opensc-pkcs11.so",
	// TPM 2.0
	"/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1",
	"/usr/lib/aarch64-linux-gnu/libtpm2_pkcs11.so.1",
	"/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so",
	"/usr/lib64/pkcs11/libtpm2_pkcs11.so",
	// Thales Luna and ProtectServer
	"/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
	"/usr/lib/libCryptoki2_64.so",
	"/opt/safenet/protecttoolkit5/ptk/lib/libcryptoki.so",
	// Entrust nShield
	"/opt/nfast/toolkits/pkcs11/libcknfast.so",
	// Utimaco
	"/opt/utimaco/lib/libcs_pkcs11_R3.so",
	"/usr/lib/libcs_pkcs11_R3.so",
	"/usr/lib/libcs_pkcs11_R2.so",
	// Securosys Primus
	"/usr/local/primus/lib/libprimusP11.so",
	// YubiHSM 2 and YubiKey
	"/usr/lib/x86_64-linux-gnu/pkcs11/yubihsm_pkcs11.so",
	"/usr/lib64/pkcs11/yubihsm_pkcs11.so",
	"/usr/lib/x86_64-linux-gnu/libykcs11.so",
	// Cloud services
	"/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
	"/opt/fortanix/pkcs11/fortanix_pkcs11.so",
	"/usr/local/lib/libkmsp11.so",
}

// AllowedModules returns the allow-list: PKI_PKCS11_MODULES split at ":", or the
// well-known vendor paths.
func AllowedModules() []string {
	value, set := os.LookupEnv(modulesVariable)
	if !set || strings.TrimSpace(value) == "" {
		return slices.Clone(wellKnown)
	}
	var paths []string
	for path := range strings.SplitSeq(value, ":") {
		if path = strings.TrimSpace(path); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// resolveModule returns the file that a module path stands for. The path is allowed
// when it leads to the same file as an entry of the allow-list, so that the link
// and the library it points to are one library. The resolved path is what is
// loaded: a link that is turned between check and load changes nothing.
func resolveModule(path string) (string, error) {
	denied := fault.FieldOf(fault.Denied, "module",
		"%s is not in the allow-list of PKCS#11 libraries; set the environment variable %s of this program to the libraries it may load", path, modulesVariable)
	if !filepath.IsAbs(path) {
		return "", denied
	}
	clean := filepath.Clean(path)
	resolved, err := filepath.EvalSymlinks(clean)
	for _, entry := range AllowedModules() {
		if !filepath.IsAbs(entry) {
			continue
		}
		target, entryErr := filepath.EvalSymlinks(entry)
		if err == nil && entryErr == nil && target == resolved {
			return resolved, nil
		}
		if err != nil && filepath.Clean(entry) == clean {
			return "", fault.FieldOf(fault.Unavailable, "module", "%s cannot be read; install the vendor's PKCS#11 library", path)
		}
	}
	return "", denied
}
