package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// ownGroup makes a child the leader of a new process group, and has the kernel end
// it with us should the test process be killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// end stops the server by the id of its process, then waits for the rest of its group.
func (s *Server) end() error {
	if s.process == nil || s.process.Process == nil {
		return nil
	}
	group := s.process.Process.Pid
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the Vault server: %w", err)
	}
	if _, ended := wait.Take(s.exited); !ended {
		_ = syscall.Kill(-group, syscall.SIGKILL)
		<-s.exited
		return fmt.Errorf("stopping the Vault server: nothing moves after SIGTERM, killed")
	}
	return waitForGroup(group)
}

// waitForGroup waits until a process group is empty.
func waitForGroup(group int) error {
	for watch := wait.New(); ; time.Sleep(20 * time.Millisecond) {
		left := processes(func(p process) bool { return p.group == group })
		if len(left) == 0 {
			return nil
		}
		if watch.Still() {
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return fmt.Errorf("waiting for plugin processes: %v outlived their server and do nothing, killed", left)
		}
	}
}

// Plugins returns the ids of the running processes of a plugin of this server, by
// the name of its binary.
func (s *Server) Plugins(t testing.TB, binary string) []int {
	t.Helper()
	path := filepath.Join(s.pluginDir(), binary)
	var ids []int
	for _, p := range processes(func(p process) bool { return p.group == s.process.Process.Pid }) {
		if executable, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.id)); err == nil && executable == path {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// KillPlugins ends the running processes of a plugin as a crash would, with SIGKILL.
// It fails the test when there is none.
func (s *Server) KillPlugins(t testing.TB, binary string) {
	t.Helper()
	ids := s.Plugins(t, binary)
	if len(ids) == 0 {
		t.Fatalf("killing plugin %s: no such process", binary)
	}
	for _, id := range ids {
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
			t.Fatalf("killing plugin %s (process %d): %v", binary, id, err)
		}
	}
}

// process is one line of the process table.
type process struct {
	id, group int
	name      string
}

// String returns "name (id)".
func (p process) String() string { return fmt.Sprintf("%s (%d)", p.name, p.id) }

// processes reads /proc and returns the live processes that match; zombies are not.
func processes(match func(process) bool) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	var found []process
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // ended since
		}
		if p, alive := parseStat(string(content)); alive && match(p) {
			found = append(found, p)
		}
	}
	return found
}

// parseStat reads "id (name) state parent group ...", see proc_pid_stat(5). The name
// may hold spaces and parentheses, so it ends at the last one.
func parseStat(line string) (p process, alive bool) {
	open, closing := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || closing < open {
		return process{}, false
	}
	rest := strings.Fields(line[closing+1:])
	if len(rest) < 3 {
		return process{}, false
	}
	id, errID := strconv.Atoi(strings.TrimSpace(line[:open]))
	group, errGroup := strconv.Atoi(rest[2])
	if errID != nil || errGroup != nil {
		return process{}, false
	}
	return process{id: id, group: group, name: line[open+1 : closing]}, rest[0] != "Z"
}
