package main

import (
	"math"
	"os"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/plugin"
	"google.golang.org/grpc"

	"vault-plugin-secrets-enterprise-pki/paths"
)

// protocol is the version of the plugin protocol in which one process serves all
// mounts, over TLS that Vault and the plugin agree on by themselves.
const protocol = 5

// streamWorkers is how many requests are served by goroutines that have served
// others: their stacks have grown to what a signature needs and stay so, which saves
// a twentieth of its processor time. Further requests get a goroutine of their own.
const streamWorkers = 128

// serve does what plugin.ServeMultiplex does, which leaves no choice of the server's
// options, and returns when Vault ends the plugin.
func serve(meta *api.PluginAPIClientMeta) error {
	if err := pluginutil.OptionallyEnableMlock(); err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	backend := &plugin.GRPCBackendPlugin{Factory: paths.Factory, MultiplexingSupport: true, Logger: log}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig,
		VersionedPlugins: map[int]goplugin.PluginSet{protocol: {plugin.BackendPluginName: backend}},
		TLSProvider:      api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:           log,
		GRPCServer:       server,
	})
	return nil
}

// server takes and gives messages of any size: Vault bounds those of its clients.
func server(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.NumStreamWorkers(streamWorkers))...)
}
