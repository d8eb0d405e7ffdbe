package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// newHTTPClient speaks HTTP/2, without TLS over http://, and closes connections that do not answer pings.
func newHTTPClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:   protocols,
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: 2 * time.Second},
		// Sessions renew more often than this, so that it ends only what nobody uses.
		IdleConnTimeout: 90 * time.Second,
	}}
}

// carrier sends a request to the server that its context names.
type carrier struct{ http *http.Client }

// Do has the meaning of [http.Client.Do].
func (c *carrier) Do(r *http.Request) (*http.Response, error) {
	base, err := url.Parse(serverOf(r.Context()))
	if err != nil {
		return nil, err
	}
	target := *r.URL
	target.Scheme, target.Host, target.Path = base.Scheme, base.Host, base.Path+target.Path
	r.URL, r.Host = &target, base.Host
	res, err := c.http.Do(r)
	if err == nil && res.StatusCode == http.StatusHTTPVersionNotSupported {
		return nil, errors.Join(errNoStreams, res.Body.Close())
	}
	return res, err
}

// errNoStreams is a server's answer to a stream both ways that comes over HTTP/1.1.
var errNoStreams = errors.New("streams need HTTP/2")

type serverKey struct{}

func withServer(ctx context.Context, server string) context.Context {
	return context.WithValue(ctx, serverKey{}, server)
}

func serverOf(ctx context.Context) string {
	server, _ := ctx.Value(serverKey{}).(string)
	return server
}
