package outbound_test

import (
	"encoding/binary"
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/doyensec/safeurl"
	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/adapters/outbound"
)

func TestPublicAddressesAreReachable(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15",
		"2000::1", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1", "3ffd::1", "3fff:1000::1",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", // as DNS64 answers on a network without IPv4
	} {
		if !outbound.IsPublic(outbound.Allow{}, netip.MustParseAddr(text)) {
			t.Errorf("%s is refused", text)
		}
	}
}

func TestAddressesThatAreNotPublicAreOutOfReach(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
		"168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
		"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.88.99.2", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1",
		"198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.254", "255.255.255.255",
		"::", "::1", "::2", "::7f00:1", "::10.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
		"::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "64:ff9b:1::7f00:1",
		"64:ff9b:2::1", "100::1", "100:0:0:1::1", "200::1", "2001::1", "2001:0:a9fe:a9fe::1", "2001:1::1", "2001:2::1", "2001:3::1",
		"2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1",
		"2002:808:808::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "8000::1", "e000::1", "fc00::1", "fd00::1",
		"fd00:ec2::254", "fdff::1", "fe00::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "feff::1", "ff00::1", "ff02::1", "2606:4700::1%1",
	} {
		if outbound.IsPublic(outbound.Allow{}, netip.MustParseAddr(text)) {
			t.Errorf("%s is reachable", text)
		}
	}
	for _, addr := range outbound.Metadata() {
		if outbound.IsPublic(outbound.Allow{}, addr) {
			t.Errorf("%s is reachable", addr)
		}
	}
}

// anyAddr draws an address, half of the time one in or right beside a block of the table.
func anyAddr(t *rapid.T) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
	if rapid.Bool().Draw(t, "anywhere") {
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte(b))
		}
		return netip.AddrFrom16([16]byte(b)).Unmap()
	}
	prefix := rapid.SampledFrom(outbound.Special()).Draw(t, "block")
	addr := inside(prefix, b)
	switch rapid.SampledFrom([]string{"inside", "before", "after"}).Draw(t, "place") {
	case "before":
		if before := prefix.Addr().Prev(); before.IsValid() {
			return before.Unmap()
		}
	case "after":
		if after := last(prefix).Next(); after.IsValid() {
			return after.Unmap()
		}
	}
	return addr.Unmap()
}

// inside replaces all bits of random but the prefix's own.
func inside(p netip.Prefix, random []byte) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		mask := byte(0xff)
		if own := p.Bits() - 8*i; own >= 8 {
			mask = 0
		} else if own > 0 {
			mask >>= own
		}
		b[i] |= random[i] & mask
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func last(p netip.Prefix) netip.Addr {
	ones := make([]byte, 16)
	binary.BigEndian.PutUint64(ones, ^uint64(0))
	binary.BigEndian.PutUint64(ones[8:], ^uint64(0))
	return inside(p, ones)
}

func TestTheTableKnowsAllThatTheStandardLibraryKnows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		addr := anyAddr(t)
		local := addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() || !addr.IsGlobalUnicast()
		if local && outbound.IsPublic(outbound.Allow{}, addr) {
			t.Fatalf("%s is reachable", addr)
		}
	})
}

// TestTheTableKnowsAllThatSafeurlKnows asks another guard. Its dialer is used with UDP, which connects without sending
// anything, so that addresses can be asked for that it allows.
func TestTheTableKnowsAllThatSafeurlKnows(t *testing.T) {
	t.Parallel()
	other := safeurl.Client(safeurl.GetConfigBuilder().EnableIPv6(true).Build())
	dial := other.Client.Transport.(*http.Transport).DialContext
	refuses := func(addr netip.Addr) bool {
		conn, err := dial(t.Context(), "udp", netip.AddrPortFrom(addr, 443).String())
		if err == nil {
			conn.Close()
		}
		var refused *safeurl.AllowedIPError
		return errors.As(err, &refused)
	}
	if !refuses(netip.MustParseAddr("10.0.0.1")) || refuses(netip.MustParseAddr("8.8.8.8")) {
		t.Fatal("safeurl cannot be asked this way")
	}
	translated := netip.MustParsePrefix("64:ff9b::/96") // safeurl refuses it with any IPv4 address in it
	rapid.Check(t, func(t *rapid.T) {
		addr := anyAddr(t)
		if !translated.Contains(addr) && refuses(addr) && outbound.IsPublic(outbound.Allow{}, addr) {
			t.Fatalf("%s is reachable", addr)
		}
	})
}

func TestWhatWrapsAnIPv4AddressIsJudgedByIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		four := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		b := four.As4()
		wrap := func(prefix string) netip.Addr {
			p := netip.MustParseAddr(prefix).As16()
			copy(p[12:], b[:])
			return netip.AddrFrom16(p)
		}
		want := outbound.IsPublic(outbound.Allow{}, four)
		for _, prefix := range []string{"::ffff:0:0", "64:ff9b::"} {
			if got := outbound.IsPublic(outbound.Allow{}, wrap(prefix)); got != want {
				t.Fatalf("%s is reachable: %t, but %s: %t", wrap(prefix), got, four, want)
			}
		}
	})
}
