package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// sender sends a request and reads the body of the answer into buffer; any status but
// 200 and 204 is an error.
type sender interface {
	send(ctx context.Context, r request, buffer *bytes.Buffer) error
}

// line is one connection that stays open, on which requests are sent as they were
// prepared. It reads of an answer what it has to, so that servers, not the generator,
// take the processor: net/http's client costs as much as the edge's whole answer.
type line struct {
	connection net.Conn
	reader     *bufio.Reader
}

// dial opens a line, which ends with the context or when it is closed.
func dial(ctx context.Context, address string) (*line, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = connection.Close() }) // what waits for an answer ends
	return &line{connection: connection, reader: bufio.NewReaderSize(connection, 64<<10)}, nil
}

func (l *line) close() { _ = l.connection.Close() } // the server sees the end either way

// prepared returns the request as it goes over a line, without a token.
func (r request) prepared(path string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", r.method, path)
	if r.body != nil {
		fmt.Fprintf(&b, "Content-Type: application/ocsp-request\r\nContent-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// send sends the prepared form of a request.
func (l *line) send(_ context.Context, r request, buffer *bytes.Buffer) error {
	if _, err := l.connection.Write(r.wire); err != nil {
		return err
	}
	status, err := l.reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	said := string(bytes.TrimSpace(status[:min(len(status), 12)]))
	length, err := l.header()
	if err != nil {
		return fmt.Errorf("%s %s: %s: %w", r.method, r.path, said, err)
	}
	buffer.Reset()
	buffer.Grow(length)
	body := buffer.AvailableBuffer()[:length]
	if _, err := io.ReadFull(l.reader, body); err != nil {
		return err
	}
	buffer.Write(body)
	if !ok {
		return fmt.Errorf("%s %s: %s: %.300s", r.method, r.path, said, body)
	}
	return nil
}

// header reads the lines up to the empty one and returns the length of the body, which
// one of them has to say.
func (l *line) header() (length int, err error) {
	const name = "content-length:"
	length = -1
	for {
		field, err := l.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(field) <= 2 {
			break
		}
		if len(field) > len(name) && strings.EqualFold(string(field[:len(name)]), name) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(field[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("the answer does not say how long it is")
	}
	return length, nil
}
