package sweep

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Hosts are those that may be asked. Without any nothing is.
type Hosts struct{ allowed []allowed }

type allowed struct {
	host string // in lower case, without brackets
	port string // empty: any
}

// ParseHosts reads HOST or HOST:PORT, of which HOST is a name or an address; without a port it is any. An IPv6 address with a port is in brackets.
func ParseHosts(list []string) (*Hosts, error) {
	h := &Hosts{}
	for _, s := range list {
		a := allowed{host: s}
		if host, port, err := net.SplitHostPort(s); err == nil {
			a = allowed{host, port}
		} else if ip := net.ParseIP(strings.Trim(s, "[]")); ip == nil && strings.Contains(s, ":") {
			return nil, fmt.Errorf("%q is not HOST or HOST:PORT", s)
		}
		a.host = strings.ToLower(strings.Trim(a.host, "[]"))
		if n, err := strconv.ParseUint(a.port, 10, 16); a.host == "" || strings.ContainsAny(a.host, "/*@ ") || a.port != "" && (err != nil || n == 0) {
			return nil, fmt.Errorf("%q is not HOST or HOST:PORT", s)
		}
		h.allowed = append(h.allowed, a)
	}
	return h, nil
}

// Empty says that nothing may be asked.
func (h *Hosts) Empty() bool { return len(h.allowed) == 0 }

// allow refuses a URL whose host is not among them.
func (h *Hosts) allow(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s is neither http nor https", u.Redacted())
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, a := range h.allowed {
		if a.host == host && (a.port == "" || a.port == port) {
			return nil
		}
	}
	return fmt.Errorf("this server may not ask %s: it is not among its --reporter-hosts", net.JoinHostPort(host, port))
}

// checkAddress refuses to connect to an address that a name should not stand for. What is named by its address was allowed by that; a name may
// be made to stand for any other by whoever answers for it, and so is refused where only this machine listens, or its link: there are
// services of which nobody thinks, as those that give out credentials of a machine in a cloud.
func checkAddress(host, resolved string) error {
	at, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if named, err := netip.ParseAddr(host); err == nil {
		if named.Unmap().WithZone("") != ip.WithZone("") {
			return fmt.Errorf("%s is not %s", ip, host)
		}
		return nil
	}
	switch {
	case ip.IsLoopback() && strings.ToLower(host) == "localhost":
		return nil
	case ip.IsLoopback(), ip.IsUnspecified(), ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip == metadataIPv6:
		return fmt.Errorf("%s stands for %s, which is only asked when it is allowed by its address", host, ip)
	}
	return nil
}

// metadataIPv6 is where one of the clouds gives out credentials by IPv6.
var metadataIPv6 = netip.MustParseAddr("fd00:ec2::254")
