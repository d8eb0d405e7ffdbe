package local

import (
	"net"
	"strconv"
	"strings"
	"testing"
)

// Addresses are loopback, free and different; with a base they are where they were asked for, or nowhere.
func TestAddresses(t *testing.T) {
	own, err := Addresses(9, 0)
	if err != nil || len(own) != 9 {
		t.Fatalf("%v, %v", own, err)
	}
	seen := map[string]bool{}
	for _, address := range own {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() || seen[address] {
			t.Errorf("%s: %v", address, err)
		}
		seen[address] = true
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	if got, err := Addresses(1, taken); err == nil || !strings.Contains(err.Error(), strconv.Itoa(taken)) {
		t.Errorf("port %d, which is taken: %v, %v", taken, got, err)
	}
}
