package lab

import (
	"net/netip"
	"os"
	"testing"
)

func TestLabsBesideEachOtherHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]int{}
	for _, pid := range []int{1, 2, 255, 256, 257, 1 << 15, 1 << 16, 1<<16 + 1, 1<<22 - 1, os.Getpid()} {
		address := loopback(pid)
		if a, err := netip.ParseAddr(address); err != nil || !a.IsLoopback() {
			t.Errorf("process %d has the address %s: %v", pid, address, err)
		}
		if other, ok := seen[address]; ok && other != pid {
			t.Errorf("processes %d and %d have the address %s", other, pid, address)
		}
		seen[address] = pid
		if _, _, _, err := ports(address); err != nil {
			t.Errorf("no ports at %s: %v", address, err)
		}
	}
}
