package outbound

import (
	"errors"
	"fmt"
	"net/netip"
)

// guard decides which connections one kind of call may open.
type guard struct{ rules []rule }

// way is how a connection is asked for.
type way struct {
	host   string // of the URL: a name, or an address without brackets
	port   uint16
	secure bool
}

// refusal says why an address is out of reach. Its text is the operator's; tenants learn no more than ports.Cause.
type refusal struct {
	host string
	addr netip.Addr
	why  string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s at %s is out of reach: %s", r.host, r.addr, r.why)
}

// unlessOpened ends the refusals that a server's operator may lift.
const unlessOpened = ", unless the server's operator opens it with OUTBOUND_ALLOW"

// admit judges a URL by its text: an address by itself, a name by whether any address of it could be allowed.
func (g guard) admit(t target) error {
	w := way{t.host, t.port, t.secure}
	if !t.addr.IsValid() {
		return g.admitName(w)
	}
	if r := g.permit(w, t.addr); r != nil {
		return fmt.Errorf("the address is not allowed: %s%s", r.why, unlessOpened)
	}
	return nil
}

func (g guard) admitName(w way) error {
	for _, r := range g.rules {
		if r.fits(w.port) && (r.prefix.IsValid() || r.host == w.host) {
			return nil
		}
	}
	switch {
	case isLocalName(w.host):
		return errors.New("the host must be a public name" + unlessOpened)
	case !w.secure:
		return errors.New("the URL begins with https://" + unlessOpened)
	case !isOpenPort(w.port):
		return fmt.Errorf("port %d is not allowed%s", w.port, unlessOpened)
	}
	return nil
}

// permit judges a connection to an address.
func (g guard) permit(w way, addr netip.Addr) *refusal {
	for _, a := range judged(addr) {
		if why := g.judge(w, a); why != "" {
			return &refusal{w.host, addr, why}
		}
	}
	return nil
}

func (g guard) judge(w way, addr netip.Addr) string {
	for _, r := range g.rules {
		if r.opens(w.host, addr, w.port) {
			return ""
		}
	}
	switch purpose := purposeOf(addr); {
	case purpose != "":
		return purpose
	case !w.secure:
		return "plain http"
	case !isOpenPort(w.port):
		return fmt.Sprintf("port %d", w.port)
	}
	return ""
}
