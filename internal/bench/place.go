package main

import (
	"fmt"
	"net/netip"

	"github.com/go-multihome/multihome/internal/netlab"
)

// place is where a measurement is made: two hosts, or one that talks to itself.
type place struct {
	name  string
	title string

	// Addresses of both ends, one per path.
	client, server []netip.Addr

	// atClient and atServer run a function where sockets of that end must be made.
	atClient, atServer func(func() error) error

	apart bool // the ends are different hosts
	close func() error
}

// loopback is this host's own, with two addresses for each end.
func loopback() *place {
	here := func(f func() error) error { return f() }
	return &place{
		name:   "loopback",
		title:  "loopback",
		client: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		server: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},

		atClient: here, atServer: here,
		close: func() error { return nil },
	}
}

// namespaces are two hosts with a router between them, over Ethernet links.
func namespaces(mtu int) (*place, error) {
	l, err := netlab.New(netlab.Options{Paths: 1, MTU: mtu})
	if err != nil {
		return nil, err
	}
	return &place{
		name:   "namespaces",
		title:  fmt.Sprintf("namespaces, a router between them, MTU %d", mtu),
		client: l.A.Addrs(), server: l.B.Addrs(),
		atClient: l.InA, atServer: l.InB,
		apart: true,
		close: l.Close,
	}, nil
}
