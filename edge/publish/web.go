package publish

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// connecting bounds what comes before a body, in both directions.
const connecting = 30 * time.Second

// web is a server that takes PUT (RFC 9110 section 9.3.4), WebDAV or not.
type web struct {
	publisher   feed.Publisher
	credentials map[string]config.Credential
	server      *server
	client      *http.Client
}

func (w *web) open(context.Context) error {
	s, err := serverOf(w.publisher, w.credentials)
	if err != nil {
		return err
	}
	switch s.url.Scheme {
	case "https":
	case "http":
		if s.secret() {
			return fault.Field("url", "a token or password is sent over https only")
		}
	default:
		return fault.Field("url", "must begin with https:// or http://")
	}
	w.server, w.client = s, &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: s.tls, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: connecting, ResponseHeaderTimeout: oneDelivery, MaxIdleConnsPerHost: 1,
		},
		// Followed, a redirect would take a credential to a server that nobody named, and
		// turn PUT into GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

func (w *web) close() {
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

func (w *web) place(i item) (string, error) {
	return expand(w.publisher.URL, "url", i, func(value string) (string, error) {
		value, err := oneSegment(value)
		return url.PathEscape(value), err
	})
}

func (w *web) read(ctx context.Context, i item) ([]byte, error) {
	response, err := w.do(ctx, http.MethodGet, i, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, nil
	default:
		return nil, fault.New(fault.Unavailable, "GET is answered with %s", response.Status)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxContent))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading back: %w", err)
	}
	return content, nil
}

func (w *web) write(ctx context.Context, i item, content []byte) error {
	response, err := w.do(ctx, http.MethodPut, i, content)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection can be used again
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fault.New(fault.Unavailable, "PUT is answered with %s", response.Status)
	}
	return nil
}

func (w *web) do(ctx context.Context, method string, i item, content []byte) (*http.Response, error) {
	address, err := w.place(i)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(content))
	if err != nil {
		return nil, fault.Field("url", "is no URL once the templates are filled")
	}
	if request.URL.Host != w.server.url.Host {
		return nil, fault.Field("url", "must not have templates in the name of the server")
	}
	if method == http.MethodPut {
		request.Header.Set("Content-Type", i.mediaType())
	} else {
		request.Header.Set("Cache-Control", "no-cache") // what the server has, not what a proxy kept
	}
	switch {
	case w.server.token != "":
		request.Header.Set("Authorization", "Bearer "+w.server.token)
	case w.server.user != "":
		request.SetBasicAuth(w.server.user, w.server.password)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reaching the server: %w", err)
	}
	return response, nil
}
