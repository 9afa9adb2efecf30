package crash_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// dice are chance that can be repeated: rolls follow from the seed. They may be
// rolled from several goroutines.
type dice struct {
	seed  string
	mu    sync.Mutex // guards rolls
	rolls int
}

// newSeed returns a seed that was never used before.
func newSeed() string { return rand.Text()[:8] }

// derive returns dice of another player, which follow from the same seed.
func (d *dice) derive(player string) *dice { return &dice{seed: d.seed + "/" + player} }

// roll returns a number from 0 to sides-1.
func (d *dice) roll(sides int) int {
	d.mu.Lock()
	d.rolls++
	number := d.rolls
	d.mu.Unlock()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", d.seed, number))
	return int(binary.BigEndian.Uint64(sum[:8]) % uint64(sides))
}

// within returns a time from 0 to the limit, in whole milliseconds.
func (d *dice) within(limit time.Duration) time.Duration {
	return time.Duration(d.roll(int(limit.Milliseconds())+1)) * time.Millisecond
}
