package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/lockstep-dev/lockstep/client"
)

// newSingle is a client of one node alone. A client goes where a refusal sends it, and stays there: what is asked of each node by itself
// would be asked of the leader several times. Wherever this one goes, its connections are to the node.
func newSingle(api string) (*client.Client, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := &net.Dialer{Timeout: time.Second}
	return client.New(client.Config{Servers: []string{api}, HTTPClient: &http.Client{Transport: &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, api)
		},
		HTTP2: &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: 2 * time.Second},
	}}})
}
