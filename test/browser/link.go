package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// arguments are the named parameters of one DevTools method.
type arguments map[string]any

// message is what travels on the pipe in both directions, each ended by a NUL octet.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *refusal        `json:"error,omitempty"`
}

type refusal struct {
	Message string `json:"message"`
}

// link is the DevTools connection: calls with their answers, and events in order.
type link struct {
	to io.Writer

	mu      sync.Mutex // guards what is below and the order on the pipe
	last    int
	waiting map[int]chan message
	events  []message
	changed chan struct{} // closed and replaced with each event, and at the end
	ended   error
}

func newLink(to io.Writer, from io.Reader) *link {
	l := &link{to: to, waiting: map[int]chan message{}, changed: make(chan struct{})}
	go l.read(bufio.NewReader(from))
	return l
}

func (l *link) read(from *bufio.Reader) {
	for {
		raw, err := from.ReadBytes(0)
		var arrived message
		if err == nil {
			err = json.Unmarshal(raw[:len(raw)-1], &arrived)
		}
		l.mu.Lock()
		switch {
		case err != nil:
			l.ended = fmt.Errorf("the browser has ended: %w", err)
		case arrived.ID != 0:
			if answer, ok := l.waiting[arrived.ID]; ok {
				delete(l.waiting, arrived.ID)
				answer <- arrived
			}
		default:
			l.events = append(l.events, arrived)
		}
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// call sends one method and waits for its answer.
func (l *link) call(session, method string, params arguments) (json.RawMessage, error) {
	if params == nil {
		params = arguments{}
	}
	encoded, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	l.mu.Lock()
	l.last++
	l.waiting[l.last] = answer
	raw, err := json.Marshal(message{ID: l.last, SessionID: session, Method: method, Params: encoded})
	if err == nil {
		_, err = l.to.Write(append(raw, 0))
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	watch, tick := wait.New(), time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		l.mu.Lock()
		ended, changed := l.ended, l.changed
		l.mu.Unlock()
		select {
		case arrived := <-answer:
			if arrived.Error != nil {
				return nil, errors.New(arrived.Error.Message)
			}
			return arrived.Result, nil
		default:
		}
		if ended != nil {
			return nil, ended
		}
		select {
		case <-changed:
		case <-tick.C:
			if watch.Still() {
				return nil, errors.New("no answer, and nothing moves")
			}
		}
	}
}

// seen returns the events of a session so far, in order.
func (l *link) seen(session string) []message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.events), func(m message) bool { return m.SessionID != session })
}

func (b *Browser) call(t testing.TB, session, method string, params arguments) json.RawMessage {
	t.Helper()
	result, err := b.link.call(session, method, params)
	if err != nil {
		t.Fatalf("calling %s: %v", method, err)
	}
	return result
}

func (b *Browser) wait(t testing.TB, session, method string, is func(json.RawMessage) bool) {
	t.Helper()
	b.waitFrom(t, session, 0, method, is)
}

// waitFrom waits for an event of a session, looking from the given one on.
func (b *Browser) waitFrom(t testing.TB, session string, from int, method string, is func(json.RawMessage) bool) json.RawMessage {
	t.Helper()
	watch, tick := wait.New(), time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		b.link.mu.Lock()
		ended, changed := b.link.ended, b.link.changed
		b.link.mu.Unlock()
		for _, event := range b.link.seen(session)[from:] {
			if event.Method == method && is(event.Params) {
				return event.Params
			}
		}
		if ended != nil {
			t.Fatalf("waiting for %s: %v", method, ended)
		}
		select {
		case <-changed:
		case <-tick.C:
			if watch.Still() {
				t.Fatalf("waiting for %s: nothing moves", method)
			}
		}
	}
}

func decode[T any](t testing.TB, raw json.RawMessage, into *T) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("reading what the browser said: %v", err)
	}
}
