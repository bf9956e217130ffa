package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/internal/udp"
)

// Listen waits for peers at local addresses: "10.0.0.7:5000,10.1.0.7:5000" names an SCTP port at two of ours, ":5000"
// means all addresses of the system's interfaces except link-local ones, and port 0 picks a number that is free on all.
// Peers are told of the addresses that are of use to them. A nil cfg means the defaults.
func Listen(local string, cfg *Config) (*Listener, error) {
	return ListenContext(context.Background(), "sctp", local, cfg)
}

// ListenContext is Listen with a context, which bounds the look-up of host names, and a network: "sctp", or "sctp4" or
// "sctp6" to keep to one address family.
func ListenContext(ctx context.Context, network, local string, cfg *Config) (*Listener, error) {
	c := cfg.withDefaults()
	l, err := listen(ctx, network, local, c)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "sctp", Err: contextError(err)}
	}
	return l, nil
}

func listen(ctx context.Context, network, local string, c *Config) (*Listener, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	f, err := parseNetwork(network)
	if err != nil {
		return nil, err
	}
	h, err := splitHosts(local, false)
	if err != nil {
		return nil, err
	}
	socks, err := listenSockets(ctx, f, &h, c)
	if err != nil {
		return nil, err
	}
	port := h.port
	if port == 0 {
		port = socks[0].Local().Port()
	}
	n := driver.NewNode(socks, c.node(0, nil))
	defer n.Release() // the listener uses it from here on
	dl, err := n.Listen(port, c.Backlog)
	if err != nil {
		return nil, err
	}
	return &Listener{l: dl, cfg: c}, nil
}

// listenSockets opens the sockets of a listener.
func listenSockets(ctx context.Context, f family, h *hosts, c *Config) ([]udp.Socket, error) {
	if c.PacketConns != nil {
		return wrap(c.PacketConns)
	}
	addrs, system, err := h.listenAddrs(ctx, f)
	if err != nil {
		return nil, err
	}
	port := h.port
	if c.LocalUDPPort != 0 {
		port = c.LocalUDPPort
	}
	socks, err := udp.ListenSet(ctx, addrs, port, c.socket())
	if err == nil || !system {
		return socks, err
	}
	// An address of the system may be none to bind to: it is being checked for a duplicate, or has just gone. Named ones
	// must all work; of "all" we take those that do.
	usable := usableAddrs(ctx, addrs, c)
	if len(usable) == 0 || len(usable) == len(addrs) {
		return nil, err
	}
	return udp.ListenSet(ctx, usable, port, c.socket())
}

func usableAddrs(ctx context.Context, addrs []netip.Addr, c *Config) []netip.Addr {
	var out []netip.Addr
	opts := c.socket()
	opts.Shards = 1
	for _, a := range addrs {
		if s, err := udp.Listen(ctx, netip.AddrPortFrom(a, 0), opts); err == nil {
			s.Close()
			out = append(out, a)
		}
	}
	return out
}

// Listener accepts associations. It is a net.Listener.
type Listener struct {
	l   *driver.Listener
	cfg *Config
}

var _ net.Listener = (*Listener)(nil)

// Accept waits for the next association. It is AcceptAssociation for those who want a net.Conn.
func (l *Listener) Accept() (net.Conn, error) {
	a, err := l.AcceptAssociation(context.Background())
	if err != nil {
		return nil, err
	}
	return a, nil
}

// AcceptAssociation waits for the next association, until ctx ends, the deadline passes or the listener is closed.
func (l *Listener) AcceptAssociation(ctx context.Context) (*Association, error) {
	c, err := l.l.Accept(ctx)
	if err != nil {
		return nil, l.opError("accept", err)
	}
	return newAssociation(c, l.cfg), nil
}

// Close stops listening and aborts associations that nobody accepted. Accepted ones live on, and the sockets with them.
func (l *Listener) Close() error { return l.opError("close", l.l.Close()) }

// Addr returns where the listener can be reached, an *Addr.
func (l *Listener) Addr() net.Addr {
	return &Addr{Port: l.l.Port(), Locators: l.l.Node().Locals()}
}

// SetDeadline sets the instant from which Accept fails with os.ErrDeadlineExceeded, also for calls that wait. The zero
// time means never.
func (l *Listener) SetDeadline(t time.Time) error { return l.opError("set", l.l.SetDeadline(t)) }

func (l *Listener) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = contextError(err)
	}
	return &net.OpError{Op: op, Net: "sctp", Addr: l.Addr(), Err: err}
}
