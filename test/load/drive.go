package load

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"
)

// task is what one engine is asked to do at a point, again and again.
type task struct {
	// units is how many operations one request counts for: the certificates of a batch.
	units int
	// next returns the request to send; it is called by several clients at once. Any
	// request but an empty one is sent; an empty one ends the slice.
	next func() request
	// check looks at the first answer of a slice.
	check func(answer []byte) error
	// line is the address to which clients keep a line each; "" for those who send with
	// net/http. A comparison has both engines asked in the same way.
	line string
	// ready, if there is one, waits before each slice until the engines are ready for it.
	ready func(ctx context.Context) error
}

// bound ends a slice: whichever comes first. No count means no limit but time.
type bound struct {
	duration time.Duration
	count    int
}

// slice is what was seen of one engine without interruption.
type slice struct {
	latencies []time.Duration
	elapsed   time.Duration
	usage     usage
}

// drive lets so many clients send a task's requests, each the next when the answer
// to the last has arrived, until the bound. The clients finish what they began.
func (b *bench) drive(ctx context.Context, t task, clients int, limit bound) (slice, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		group  sync.WaitGroup
		mu     sync.Mutex // guards all below
		all    []time.Duration
		failed error
	)
	if limit.count > 0 {
		clients = min(clients, limit.count)
	}
	before, start := b.usage(), time.Now()
	for n := range clients {
		group.Go(func() {
			share := (limit.count + clients - 1 - n) / clients // together they make the count
			latencies, err := b.client1(ctx, t, bound{limit.duration, share}, n == 0)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			if err != nil && failed == nil {
				failed = err
				cancel()
			}
		})
	}
	group.Wait()
	return slice{latencies: all, elapsed: time.Since(start), usage: b.usage().minus(before)}, failed
}

// client1 is one client of drive. The first client checks its first answer.
func (b *bench) client1(ctx context.Context, t task, limit bound, first bool) ([]time.Duration, error) {
	var (
		buffer    bytes.Buffer
		latencies []time.Duration
		sender    sender = b.client
	)
	if t.line != "" {
		line, err := dial(ctx, t.line)
		if err != nil {
			return nil, err
		}
		defer line.close()
		sender = line
	}
	deadline := time.Now().Add(limit.duration)
	for limit.count == 0 || len(latencies) < limit.count {
		r := t.next()
		if r.path == "" {
			break
		}
		begin := time.Now()
		if err := sender.send(ctx, r, &buffer); err != nil {
			return nil, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(begin))
		if first && len(latencies) == 1 && t.check != nil {
			if err := t.check(buffer.Bytes()); err != nil {
				return nil, err
			}
		}
		if end.After(deadline) {
			break
		}
	}
	return latencies, nil
}

// rounds is how often the engines take turns at a point, twice each per round.
const rounds = 4

// compare measures both engines in the order ABBA, again and again, so that what drifts
// (disk, heap, the machine's other work) falls on both alike. Each has warmed up before,
// unless requests are too precious. The limit is that of one slice.
func (b *bench) compare(ctx context.Context, ours, builtIn task, clients int, warmUp, limit bound) (mine, theirs Measure, err error) {
	if warmUp != (bound{}) {
		for _, t := range []task{ours, builtIn} {
			if _, err := b.drive(ctx, t, clients, warmUp); err != nil {
				return Measure{}, Measure{}, err
			}
		}
	}
	var seen [2][]slice // ours, built-in
	for range rounds {
		for _, turn := range []int{0, 1, 1, 0} {
			t := []task{ours, builtIn}[turn]
			if t.ready != nil {
				if err := t.ready(ctx); err != nil {
					return Measure{}, Measure{}, err
				}
			}
			s, err := b.drive(ctx, t, clients, limit)
			if err != nil {
				return Measure{}, Measure{}, err
			}
			seen[turn] = append(seen[turn], s)
		}
	}
	return summarise(ours, seen[0]), summarise(builtIn, seen[1]), nil
}

// summarise adds up the slices of one engine.
func summarise(t task, slices []slice) Measure {
	var (
		all     []time.Duration
		elapsed time.Duration
		spent   usage
	)
	for _, s := range slices {
		all = append(all, s.latencies...)
		elapsed += s.elapsed
		spent = spent.plus(s.usage)
	}
	operations := float64(len(all) * t.units)
	if operations == 0 {
		return Measure{}
	}
	return Measure{
		Operations: len(all) * t.units,
		Rate:       operations / elapsed.Seconds(),
		P50:        milliseconds(percentile(all, 50)),
		P99:        milliseconds(percentile(all, 99)),
		CPU: CPU{
			Vault:     milliseconds(spent.vault) / operations,
			Plugin:    milliseconds(spent.plugin) / operations,
			Edge:      milliseconds(spent.edge) / operations,
			Generator: milliseconds(spent.generator) / operations,
		},
	}
}

// percentile returns the smallest value that at least this part of the values, in
// percent, do not exceed. It sorts them.
func percentile(values []time.Duration, percent int) time.Duration {
	slices.Sort(values)
	return values[max(0, (len(values)*percent+99)/100-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
