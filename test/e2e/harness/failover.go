package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// Register puts bin/<binary> into the plugin folder of every node and registers it
// in the cluster as a secrets engine under a name.
func (c *Cluster) Register(name, binary string) error {
	source, err := Binary(binary)
	if err != nil {
		return err
	}
	active, err := c.Active()
	if err != nil {
		return err
	}
	for _, s := range c.Nodes {
		if _, err := copyExecutable(filepath.Join(s.pluginDir(), binary), source); err != nil {
			return fmt.Errorf("copying plugin %s: %w", binary, err)
		}
	}
	return active.Register(name, binary)
}

// Active waits until one of the running nodes says that it is unsealed and active,
// and returns it.
func (c *Cluster) Active() (*Server, error) {
	ctx, cancel := wait.Context(context.Background())
	defer cancel()
	for {
		for _, s := range c.Nodes {
			health, err := s.client.Sys().HealthWithContext(ctx)
			if err == nil && health.Initialized && !health.Sealed && !health.Standby {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for an active node: %w", context.Cause(ctx))
		case <-time.After(pollInterval):
		}
	}
}

// Kill ends the process of a node as a crash would, with SIGKILL, and waits until
// its plugin processes, which nobody ends, have noticed. Its storage stays.
func (c *Cluster) Kill(s *Server) error {
	group := s.process.Process.Pid
	if err := s.process.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing a node: %w", err)
	}
	<-s.exited
	return waitForGroup(group)
}

// Restart ends a node in order, if it runs, starts it again on its storage and
// unseals it. It returns when the node is unsealed, active or not.
func (c *Cluster) Restart(s *Server) error {
	if err := s.end(); err != nil {
		return err
	}
	if err := c.launch(s); err != nil {
		return err
	}
	return c.unseal(s)
}

// Unseal hands the key in until a node that was sealed is so no more.
func (c *Cluster) Unseal(s *Server) error { return c.unseal(s) }

// waitVoters waits until all nodes have a vote: a cluster of three survives the loss
// of one only then. The default of ten seconds of good conduct before is cut short.
func (c *Cluster) waitVoters() error {
	active, err := c.Active()
	if err != nil || len(c.Nodes) == 1 {
		return err
	}
	return active.await(func(ctx context.Context) error {
		err := active.call(ctx, "POST", "sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"}, nil)
		if err != nil {
			return err
		}
		var answer struct {
			Data struct {
				Config struct {
					Servers []struct {
						Voter bool `json:"voter"`
					} `json:"servers"`
				} `json:"config"`
			} `json:"data"`
		}
		if err := active.call(ctx, "GET", "sys/storage/raft/configuration", nil, &answer); err != nil {
			return err
		}
		voters := 0
		for _, server := range answer.Data.Config.Servers {
			if server.Voter {
				voters++
			}
		}
		if voters != len(c.Nodes) {
			return fmt.Errorf("%d of %d nodes have a vote", voters, len(c.Nodes))
		}
		return nil
	})
}

// Process returns the id of the server's process.
func (s *Server) Process() int { return s.process.Process.Pid }

// Children returns the ids of the other processes of the server's process group: its
// plugins.
func (s *Server) Children() []int {
	var ids []int
	for _, p := range processes(func(p process) bool { return p.group == s.Process() && p.id != s.Process() }) {
		ids = append(ids, p.id)
	}
	return ids
}

// await repeats a request until it succeeds, the server ends or the time is up.
func (s *Server) await(request func(context.Context) error) error {
	ctx, cancel := wait.Context(context.Background())
	defer cancel()
	for {
		err := request(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended (%v): %w", s.process.ProcessState, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pollInterval):
		}
	}
}

// call sends one request with the client's token and decodes the answer, if there is
// one, into target; a nil target drops it.
func (s *Server) call(ctx context.Context, method, path string, body map[string]any, target any) error {
	request := s.client.NewRequest(method, "/v1/"+path)
	if body != nil {
		if err := request.SetJSONBody(body); err != nil {
			return err
		}
	}
	// RawRequest is deprecated in favour of calls that know less of the system paths.
	response, err := s.raw(ctx, request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	if target == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(target); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}

func (s *Server) raw(ctx context.Context, request *api.Request) (*api.Response, error) {
	//lint:ignore SA1019 the replacements answer in shapes of secrets
	return s.client.RawRequestWithContext(ctx, request) //nolint:staticcheck // the replacements answer in shapes of secrets, which these paths do not
}
