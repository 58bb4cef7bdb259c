package listen

import (
	"net"
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// Hosts says which Host headers are ours. A page of a stranger can make its own name point
// to 127.0.0.1 and then read our answers (DNS rebinding); it cannot make the browser send
// another Host than its own. The zero value knows the loopback names only. Immutable.
type Hosts struct {
	names []string // without port, in lower case
	anyIP bool     // some listener has all addresses of the machine
}

// WrongHost is what is said to a request for a host that is not ours.
const WrongHost = "this server does not answer for the host that the request names"

// HostsOf returns the hosts of listeners on addrs ("host:port"; "unix:" ones say nothing):
// the loopback names, each address's own host, and the names in allowed, with or without
// port. A listener on all addresses can be asked for by each IP address, which no name
// server can redirect, but by no name that is not in allowed.
func HostsOf(addrs, allowed []string) Hosts {
	var h Hosts
	for _, addr := range addrs {
		if strings.HasPrefix(addr, "unix:") {
			continue
		}
		name := hostOf(addr)
		ip, err := netip.ParseAddr(name)
		if name == "" || err == nil && ip.IsUnspecified() {
			h.anyIP = true
			continue
		}
		h.names = append(h.names, strings.ToLower(name))
	}
	for _, name := range allowed {
		h.names = append(h.names, strings.ToLower(hostOf(name)))
	}
	return h
}

// Allows reports whether a Host header, with or without port, is ours. It does not
// allocate for names and keeps nothing of host.
func (h Hosts) Allows(host string) bool {
	name := hostOf(host)
	if name == "127.0.0.1" || strings.EqualFold(name, "localhost") {
		return true
	}
	for _, own := range h.names {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return h.anyIP || ip.IsLoopback()
	}
	return false
}

// Serves reports whether a request that came in on local may be answered: what comes
// through a Unix socket was let in by its file mode and names whatever host it likes.
func (h Hosts) Serves(local net.Addr, host string) bool {
	if _, ok := local.(*net.UnixAddr); ok {
		return true
	}
	return h.Allows(host)
}

// Middleware refuses requests for other hosts with an error of status 421.
func (h Hosts) Middleware() fiber.Handler {
	return func(c *fiber.Ctx) error {
		if !h.Serves(c.Context().LocalAddr(), c.Get(fiber.HeaderHost)) {
			return fiber.NewError(fiber.StatusMisdirectedRequest, WrongHost)
		}
		return c.Next()
	}
}

// hostOf cuts the port and an IPv6 address's brackets off.
func hostOf(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		name, _, _ := strings.Cut(rest, "]")
		return name
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host, ':') == i {
		return host[:i]
	}
	return host
}
