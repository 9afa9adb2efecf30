package crash_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What bounds the load: a chapter is one cluster's life.
const (
	roundCertificates   = 300
	chapterCertificates = 10_000
	wholeEvery          = 10 // rounds from one look at all of storage to the next
)

// kind is one way in which processes end.
type kind struct {
	name string
	kill func(*site, *dice)
}

// kinds are all of them. Each leaves every node running again.
var kinds = []kind{
	{"the plugin", func(s *site, d *dice) { s.killPlugin(s.active(), d) }},
	{"the plugin, and again while it loads", func(s *site, d *dice) {
		for range 2 + d.roll(4) {
			s.killPlugin(s.active(), d)
			time.Sleep(d.within(100 * time.Millisecond))
		}
	}},
	{"the active node", func(s *site, d *dice) {
		node := s.active()
		s.killNode(node, d)
		time.Sleep(d.within(3 * time.Second))
		s.restart(node)
	}},
	{"the active node, and the next as soon as it is active", func(s *site, d *dice) {
		first := s.active()
		s.killNode(first, d)
		second := s.active()
		time.Sleep(d.within(200 * time.Millisecond))
		s.killNode(second, d)
		s.restart(first)
		s.restart(second)
	}},
	{"a standby", func(s *site, d *dice) {
		active, at := s.active(), d.roll(len(s.cluster.Nodes))
		for s.cluster.Nodes[at] == active {
			at = (at + 1) % len(s.cluster.Nodes)
		}
		s.killNode(s.cluster.Nodes[at], d)
		time.Sleep(d.within(2 * time.Second))
		s.restart(s.cluster.Nodes[at])
	}},
	{"all nodes", func(s *site, d *dice) {
		s.killNode(s.active(), d)
		for _, node := range s.cluster.Nodes {
			require.NoError(s.t, s.cluster.Kill(node))
		}
		for _, node := range s.cluster.Nodes {
			s.restart(node)
		}
	}},
}

// TestCrash1_Soak kills by chance for SOAK, which is a few seconds unless the
// environment says otherwise (`make soak`). SEED repeats the choices of an earlier run;
// how they meet the load is never the same.
func TestCrash1_Soak(t *testing.T) {
	d := seeded(t)
	if seed := os.Getenv("SEED"); seed != "" {
		d.seed = seed
		t.Logf("not used: SEED is %s", seed)
	}
	length := 8 * time.Second
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err, "SOAK")
	}
	end := time.Now().Add(length)
	for chapter := 1; chapter == 1 || time.Now().Before(end) && !t.Failed(); chapter++ {
		t.Run(fmt.Sprintf("chapter %d", chapter), func(t *testing.T) {
			newSite(t, 3).chapter(d.derive(fmt.Sprint(chapter)), end)
		})
	}
}

// chapter plays rounds until the time is over or there are certificates enough.
func (s *site) chapter(d *dice, end time.Time) {
	for round := 1; round == 1 || time.Now().Before(end) && s.book.count() < chapterCertificates; round++ {
		from := s.book.count()
		l := s.begin(d.derive(fmt.Sprint(round)), clients, roundCertificates)
		for range 1 + d.roll(3) {
			k := kinds[d.roll(len(kinds))]
			s.t.Logf("round %d, with %d certificates: kill %s", round, s.book.count(), k.name)
			s.underLoad(d, min(10+d.roll(100), l.limit-s.book.count()), func() { k.kill(s, d) })
		}
		l.stop()
		k := kinds[d.roll(len(kinds))]
		s.t.Logf("round %d, with %d certificates and no load: kill %s", round, s.book.count(), k.name)
		k.kill(s, d)
		s.recover()
		s.check(from)
		if round%wholeEvery == 0 {
			s.whole(d)
		}
		if s.t.Failed() {
			return // the rest would wait for what will not happen
		}
	}
	s.check(0)
	s.whole(d)
	s.last()
}
