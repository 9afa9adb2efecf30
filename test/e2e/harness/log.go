package harness

import (
	"fmt"
	"io"
	"os"
	"testing"
)

// maxTail is how many bytes of a log are shown at most.
const maxTail = 64 << 10

// ShowLog has what the server and its plugins log from now on shown when the test
// failed. Mount calls it.
func (s *Server) ShowLog(t testing.TB) {
	t.Helper()
	var start int64
	if info, err := os.Stat(s.Log); err == nil {
		start = info.Size()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the Vault server during this test:\n%s", tailOf(s.Log, start))
		}
	})
}

// tailOf returns what a file holds from an offset on, at most the last maxTail bytes.
func tailOf(path string, start int64) string {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size()-start > maxTail {
		start = info.Size() - maxTail
	}
	content, err := io.ReadAll(io.NewSectionReader(file, start, maxTail))
	if err != nil {
		return fmt.Sprintf("(reading the log: %v)", err)
	}
	return string(content)
}
