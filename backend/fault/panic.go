package fault

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Panicked returns what may be said of a recovered panic, and the stack of the
// goroutine that it is called from: call it where it was recovered. What is said is
// the runtime's own text, or else the type of the value alone, which may hold what no
// log and no message may.
func Panicked(value any) (what, stack string) {
	what = fmt.Sprintf("panic of type %T", value)
	if known, ok := value.(runtime.Error); ok {
		what = known.Error()
	}
	return what, string(debug.Stack())
}
