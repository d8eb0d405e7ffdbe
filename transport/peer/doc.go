// Package peer is the one port for raft and node-to-node traffic.
//
// A connection begins with a handshake: the dialer says what it wants, a raft group or a call, and both sides prove
// that they know the cluster's secret, over nonces of both. After it the bare connection is handed over.
//
//	dialer   -> acceptor   magic, length and name of what is wanted
//	acceptor -> dialer     nonce
//	dialer   -> acceptor   nonce, proof
//	acceptor -> dialer     0, proof; or 1, length and a sentence, when it turns the dialer away
//
// A proof is a MAC under the secret over the side, the name and both nonces, so that neither can be replayed, reflected
// or used for another purpose. The dialer proves first: a port answers nothing to who does not know the secret. The bytes
// that follow are not encrypted, so the port is for a network that is trusted to that extent until TLS is in.
package peer
