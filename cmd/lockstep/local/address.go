package local

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// Addresses finds loopback addresses at which nobody listens, for TCP and UDP. With a base their ports are base, base+1,
// ..., or it fails. Without one they are at a host of their own, where the system has more than one loopback host: so that
// a node that is started again finds its ports still free, whoever looked for some meanwhile, and so that no connection
// that goes out has taken one.
func Addresses(n, base int) (addresses []string, err error) {
	var held []io.Closer
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	host := loopback
	if base == 0 {
		host = ownHost()
	}
	const low, high, tries = 10_000, 32_000, 1000 // below what the kernel gives to connections that go out
	for try := 0; len(addresses) < n; try++ {
		port := base + len(addresses)
		if base == 0 {
			port = low + rand.IntN(high-low)
		}
		address := net.JoinHostPort(host, strconv.Itoa(port))
		listening, err := hold(address)
		if err != nil {
			if base != 0 || try > tries {
				return nil, fmt.Errorf("port %d is not free: %w", port, err)
			}
			continue
		}
		held, addresses = append(held, listening...), append(addresses, address)
	}
	return addresses, nil
}

// ownHost is one of the 2^24 loopback hosts that Linux has, or the one that every system has.
func ownHost() string {
	host := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))).String()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil || l.Close() != nil {
		return loopback
	}
	return host
}

func hold(address string) ([]io.Closer, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return []io.Closer{tcp, udp}, nil
}
