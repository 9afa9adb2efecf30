package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

const pollInterval = 50 * time.Millisecond

// Cluster is Vault as it is run in production: one or more servers with raft storage
// on disk, initialised and unsealed through the API, and a file audit device. The
// plugin runs on the active node alone.
type Cluster struct {
	// Nodes are the servers. Node i listens on 127.0.0.(i+1). Their root token is
	// that of every server of the harness, so all methods of Server work on them.
	Nodes []*Server
	// Dir holds everything of the cluster; it is removed by Stop.
	Dir string
	// AuditLog is the file of the audit device; the active node writes it.
	AuditLog string

	environment []string
	settings    string
	tokens      *softHSM
	unsealKey   string
}

// StartRaft starts a cluster of 1 to 9 servers with raft storage and waits until all
// of them are unsealed, one is active and every node has a vote. All nodes see the
// same SoftHSM tokens. The servers log at level info, unless config.Environment says
// otherwise with VAULT_LOG_LEVEL. The caller stops the cluster.
func StartRaft(config Config, nodes int) (*Cluster, error) {
	if nodes < 1 || nodes > 9 {
		return nil, fmt.Errorf("starting a raft cluster: 1 to 9 nodes, not %d", nodes)
	}
	binary, err := VaultBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pki-raft-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, AuditLog: filepath.Join(dir, "audit.log"), environment: config.Environment, settings: config.Settings}
	if err := c.start(config, binary, nodes); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a raft cluster: %w\n%s", err, c.logs()), c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(config Config, binary string, nodes int) error {
	tokens, err := newSoftHSM(filepath.Join(c.Dir, "softhsm"), config)
	if err != nil {
		return err
	}
	c.tokens = tokens
	for i := range nodes {
		if err := c.add(binary, i); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		if i == 0 {
			err = c.initialise()
		} else {
			err = c.join(c.Nodes[i])
		}
		if err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return c.waitVoters()
}

// add lays out the folder of a node and starts its process.
func (c *Cluster) add(binary string, index int) error {
	name := fmt.Sprintf("node-%d", index+1)
	dir := filepath.Join(c.Dir, name)
	s := &Server{Dir: dir, Log: filepath.Join(dir, "vault.log"), binary: binary, tokens: c.tokens}
	c.Nodes = append(c.Nodes, s)
	for _, folder := range []string{s.pluginDir(), s.home(), filepath.Join(dir, "raft")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	host := fmt.Sprintf("127.0.0.%d", index+1)
	ports, err := freePorts(host, 2)
	if err != nil {
		return err
	}
	s.Address = "http://" + net.JoinHostPort(host, ports[0])
	if err := os.WriteFile(s.raftConfig(), []byte(c.describe(s, name, net.JoinHostPort(host, ports[1]))), 0o600); err != nil {
		return err
	}
	if s.client, err = s.NewClient(rootToken); err != nil {
		return err
	}
	return c.launch(s)
}

func (s *Server) raftConfig() string { return filepath.Join(s.Dir, "vault.hcl") }

// describe returns the configuration file of a node. A performance multiplier of 1 is
// what Vault's documentation advises for production.
func (c *Cluster) describe(s *Server, name, clusterAddress string) string {
	return fmt.Sprintf(`disable_mlock = true
api_addr = %q
cluster_addr = "https://%s"
plugin_directory = %q
storage "raft" {
  path = %q
  node_id = %q
  performance_multiplier = 1
}
listener "tcp" {
  address = %q
  cluster_address = %q
  tls_disable = true
}
%s
`, s.Address, clusterAddress, s.pluginDir(), filepath.Join(s.Dir, "raft"), name, s.Address[len("http://"):], clusterAddress, c.settings)
}

// launch starts the process of a node, also again: its log grows.
func (c *Cluster) launch(s *Server) error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy of the descriptor
	process, exited := exec.Command(s.binary, "server", "-config="+s.raftConfig()), make(chan struct{})
	process.Env = append(s.Environment(), c.environment...)
	process.Dir = s.Dir
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = ownGroup()
	if err := process.Start(); err != nil {
		return err
	}
	s.process, s.exited = process, exited
	go func() {
		_ = process.Wait() // how it ended is in the log
		close(exited)
	}()
	return nil
}

// initialise makes the cluster out of the first node: one unseal key, the root token
// of the harness instead of the generated one, and the audit device.
func (c *Cluster) initialise() error {
	first := c.Nodes[0]
	var made struct {
		Keys  []string `json:"keys"`
		Token string   `json:"root_token"`
	}
	if err := first.await(func(ctx context.Context) error {
		return first.call(ctx, "PUT", "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &made)
	}); err != nil {
		return err
	}
	c.unsealKey = made.Keys[0]
	if err := c.unseal(first); err != nil {
		return err
	}
	if err := first.waitReady(); err != nil {
		return err
	}
	ctx, cancel := wait.Context(context.Background())
	defer cancel()
	first.client.SetToken(made.Token)
	err := first.call(ctx, "POST", "auth/token/create", map[string]any{"id": rootToken, "policies": []string{"root"}, "no_parent": true}, nil)
	if err != nil {
		return err
	}
	first.client.SetToken(rootToken)
	if err := first.call(ctx, "POST", "auth/token/revoke", map[string]any{"token": made.Token}, nil); err != nil {
		return err
	}
	return first.call(ctx, "POST", "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": c.AuditLog}}, nil)
}

// join adds a node to the first one's cluster.
func (c *Cluster) join(s *Server) error {
	if err := s.await(func(ctx context.Context) error {
		return s.call(ctx, "POST", "sys/storage/raft/join", map[string]any{"leader_api_addr": c.Nodes[0].Address}, nil)
	}); err != nil {
		return err
	}
	return c.unseal(s)
}

// unseal hands in the key until the node is unsealed: one that just joined takes the
// key only when the leader's answer has arrived.
func (c *Cluster) unseal(s *Server) error {
	return s.await(func(ctx context.Context) error {
		var status struct {
			Sealed bool `json:"sealed"`
		}
		if err := s.call(ctx, "PUT", "sys/unseal", map[string]any{"key": c.unsealKey}, &status); err != nil {
			return err
		}
		if status.Sealed {
			return errors.New("still sealed")
		}
		return nil
	})
}

// Stop ends all nodes, waits for their plugin processes to end and removes the
// folder.
func (c *Cluster) Stop() error {
	var failed []error
	for _, s := range c.Nodes {
		failed = append(failed, s.end())
	}
	return errors.Join(append(failed, os.RemoveAll(c.Dir))...)
}

// logs returns the last lines of all nodes.
func (c *Cluster) logs() string {
	text := ""
	for _, s := range c.Nodes {
		text += s.Log + ":\n" + tailOf(s.Log, 0) + "\n"
	}
	return text
}

// freePorts returns ports of a loopback address that nobody listened on a moment ago.
func freePorts(host string, count int) ([]string, error) {
	var ports []string
	for range count {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer listener.Close() // at the end: the same port must not come twice
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
