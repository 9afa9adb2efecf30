// Command vault-plugin-secrets-enterprise-pki is the plugin process that Vault
// starts. One process serves all mounts of the engine. With -version it prints the
// version to register it under, and ends.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/hashicorp/vault/api"
)

// version is set by the linker, like that of package paths, which Vault sees.
var version = "development"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-version" {
		fmt.Println(version)
		return
	}
	go watchParent(os.Getppid, time.Tick(time.Second), func() { os.Exit(1) })
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "serving the plugin:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	reserved := reserve()
	defer runtime.KeepAlive(reserved)
	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(args); err != nil {
		return err
	}
	return serve(meta)
}
