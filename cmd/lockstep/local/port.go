package local

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
)

// Ports finds ports on which nobody listens, for TCP and UDP. With a base they are base, base+1, ..., or it fails.
// Without one they lie below the range that the kernel gives to outgoing connections, so that a node that is started
// again finds its own still free.
func Ports(n, base int) (ports []int, err error) {
	var held []io.Closer
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	const low, high, tries = 10_000, 32_000, 1000
	for try := 0; len(ports) < n; try++ {
		port := base + len(ports)
		if base == 0 {
			port = low + rand.IntN(high-low)
		}
		listening, err := hold(port)
		if err != nil {
			if base != 0 || try > tries {
				return nil, fmt.Errorf("port %d is not free: %w", port, err)
			}
			continue
		}
		held, ports = append(held, listening...), append(ports, port)
	}
	return ports, nil
}

func hold(port int) ([]io.Closer, error) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
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
