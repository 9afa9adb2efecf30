package disk_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// killed is the variable that makes this test program the one that is killed.
const killed = "PKI_TEST_DISK_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killed); dir != "" {
		if err := scribble(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// scribble appends and rewrites rows for ever, and says what has returned.
func scribble(dir string) error {
	folder, err := disk.Open(dir)
	if err != nil {
		return err
	}
	rows := state.NoRows()
	var file *disk.RowsFile
	for n := 0; ; n++ {
		if rows, err = rows.With(rowsOf(n, 1)); err != nil {
			return err
		}
		position := disk.Position{Epoch: "e", Sequence: int64(n + 1), At: noon}
		if n%5 == 0 {
			file, err = folder.WriteRows(position, rows)
		} else {
			err = file.Append(position, rowsOf(n, 1))
		}
		if err != nil {
			return err
		}
		if err := folder.Write("held", record{strconv.Itoa(n + 1)}); err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// TestCrash1_KilledAtAnyPoint kills a process that writes after each of its first
// answers: what it said is there, rows and position belong together.
func TestCrash1_KilledAtAnyPoint(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for answers := range 25 {
		dir := t.TempDir()
		command := exec.CommandContext(t.Context(), self)
		command.Env = append(os.Environ(), killed+"="+dir)
		out, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		lines := bufio.NewReader(out)
		said := 0
		for said <= answers {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			said, err = strconv.Atoi(strings.TrimSpace(line))
			require.NoError(t, err)
		}
		require.NoError(t, command.Process.Kill())
		_ = command.Wait()

		folder := open(t, dir)
		file, rows, position, err := folder.LoadRows()
		require.NoError(t, err)
		require.GreaterOrEqual(t, position.Sequence, int64(said))
		require.Equal(t, int(position.Sequence), rows.Len())
		var held record
		require.NoError(t, folder.Read("held", &held))
		sequence, err := strconv.Atoi(held.Text)
		require.NoError(t, err)
		require.GreaterOrEqual(t, sequence, said)
		require.LessOrEqual(t, int64(sequence), position.Sequence)
		require.NoError(t, file.Append(disk.Position{Epoch: "e", Sequence: position.Sequence + 1, At: noon}, rowsOf(int(position.Sequence), 1)))
		require.NoError(t, file.Close())
	}
}
