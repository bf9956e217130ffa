package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/locator"
)

// keepIdle is how long the sockets of dialled associations stay open behind the last of them, so that a program that
// dials again and again finds them ready.
const keepIdle = 200 * time.Millisecond

// Dial makes an association with a peer: "10.0.0.7:5000,10.1.0.7:5000" names an SCTP port at two addresses. They are
// tried together, a little apart, and the first answer counts. A nil cfg means the defaults.
// The error is a *net.OpError whose text names every address tried and what it answered; when ctx ended it, its Timeout
// and errors.Is tell.
func Dial(ctx context.Context, remote string, cfg *Config) (*Association, error) {
	d := Dialer{Config: cfg}
	return d.dial(ctx, "sctp", remote)
}

// Dialer dials with a Config, for what takes a dial function: http.Transport.DialContext, grpc.WithContextDialer.
// The zero Dialer is ready.
type Dialer struct {
	// Config tunes the associations; nil means the defaults.
	Config *Config
	// Timeout bounds each dial beside its context; zero means no bound.
	Timeout time.Duration
}

// DialContext dials an address as Dial does. The network is "sctp", "sctp4" or "sctp6", the latter two to keep to one
// address family; the names of TCP networks mean the same.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	a, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err // not a nil *Association in an interface
	}
	return a, nil
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialAssociation is DialContext for those who want more than a net.Conn.
func (d *Dialer) DialAssociation(ctx context.Context, network, address string) (*Association, error) {
	return d.dial(ctx, network, address)
}

func (d *Dialer) dial(ctx context.Context, network, remote string) (*Association, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	p := dialing{user: d.Config, cfg: d.Config.withDefaults(), text: remote}
	if err := p.prepare(ctx, network); err != nil {
		return nil, p.fail(err)
	}
	n, err := p.node(ctx)
	if err != nil {
		return nil, p.fail(err)
	}
	defer n.Release()
	c, err := n.Dial(ctx, endpoint.DialParams{Remote: p.remote, RemotePort: p.port, LocalPort: p.localPort})
	if err != nil {
		if c != nil {
			err = p.tried(c, err)
		}
		return nil, p.fail(err)
	}
	return newAssociation(c, p.cfg), nil
}

// dialing is one dial on its way.
type dialing struct {
	user      *Config
	cfg       *Config
	text      string
	remote    []locator.Locator
	port      uint16 // SCTP
	local     []netip.Addr
	localPort uint16 // SCTP; 0: any
}

// prepare checks the configuration and turns texts into addresses.
func (p *dialing) prepare(ctx context.Context, network string) error {
	if err := p.cfg.check(); err != nil {
		return err
	}
	f, err := parseNetwork(network)
	if err != nil {
		return err
	}
	h, err := splitHosts(p.text, false)
	if err != nil {
		return err
	}
	if h.port == 0 {
		return addressError(p.text, p.text, "port 0 cannot be dialled")
	}
	addrs, err := h.resolve(ctx, f)
	if err != nil {
		return err
	}
	p.port = h.port
	udpPort := h.port
	if p.cfg.RemoteUDPPort != 0 {
		udpPort = p.cfg.RemoteUDPPort
	}
	for _, a := range addrs {
		p.remote = append(p.remote, locator.Locator{Addr: a, Port: udpPort})
	}
	switch {
	case p.cfg.PacketConns != nil:
	case p.cfg.Local == "":
		p.local, err = sourcesFor(addrs)
	default:
		var l hosts
		if l, err = splitHosts(p.cfg.Local, true); err == nil {
			p.localPort = l.port
			p.local, err = l.resolve(ctx, f)
		}
	}
	if p.cfg.PacketConns != nil && p.cfg.Local != "" {
		var l hosts
		if l, err = splitHosts(p.cfg.Local, true); err == nil {
			p.localPort = l.port
		}
	}
	return err
}

// node returns the node to dial from: the one that all dials with the same addresses and options share, or one of our own
// for sockets that were handed in.
func (p *dialing) node(ctx context.Context) (*driver.Node, error) {
	if p.cfg.PacketConns != nil {
		socks, err := wrap(p.cfg.PacketConns)
		if err != nil {
			return nil, err
		}
		return driver.NewNode(socks, p.cfg.node(0, nil)), nil
	}
	return driver.Shared(p.key(), func(onClose func()) (*driver.Node, error) {
		socks, err := p.sockets(ctx)
		if err != nil {
			return nil, err
		}
		return driver.NewNode(socks, p.cfg.node(keepIdle, onClose)), nil
	})
}

// sockets opens those of a shared node.
func (p *dialing) sockets(ctx context.Context) ([]udp.Socket, error) {
	socks, err := udp.ListenSet(ctx, p.local, p.cfg.LocalUDPPort, p.cfg.socket())
	if err == nil || p.cfg.Local != "" {
		return socks, err
	}
	// One of the system's addresses is none to bind to (any more). Ours may be fewer then; named ones must all work.
	forgetSources()
	usable := usableAddrs(ctx, p.local, p.cfg)
	if len(usable) == 0 || len(usable) == len(p.local) {
		return nil, err
	}
	return udp.ListenSet(ctx, usable, p.cfg.LocalUDPPort, p.cfg.socket())
}

// wrap takes over sockets opened by others. On an error they are all closed.
func wrap(conns []net.PacketConn) ([]udp.Socket, error) {
	var socks []udp.Socket
	for i, pc := range conns {
		s, ok := pc.(udp.Socket) // one of the simulated network's
		var err error
		if !ok {
			s, err = udp.Wrap(pc, netip.AddrPort{})
		}
		if err != nil {
			for _, s := range socks {
				s.Close()
			}
			for _, pc := range conns[i:] {
				if pc != nil {
					pc.Close()
				}
			}
			return nil, fmt.Errorf("%w: PacketConns[%d]: %w", ErrConfig, i, err)
		}
		socks = append(socks, s)
	}
	if len(socks) == 0 {
		return nil, fmt.Errorf("%w: PacketConns is empty", ErrConfig)
	}
	return socks, nil
}

// tried adds to a dial's error what was tried.
func (p *dialing) tried(c *driver.Conn, err error) error {
	if u, ok := err.(*driver.Unanswered); ok {
		if u.Tried == "" {
			return contextError(u.Err) // it was up in the same instant
		}
		return &dialError{contextError(u.Err), u.Tried}
	}
	e := endError(c, err)
	if a, ok := e.(*AssociationError); ok && a.Detail != "" {
		return e // names the locators already
	}
	return &dialError{e, "tried " + p.names()}
}

func (p *dialing) names() string {
	var b strings.Builder
	for i, l := range p.remote {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.String())
	}
	return b.String()
}

// dialError is an error with what was tried.
type dialError struct {
	err  error
	what string
}

func (e *dialError) Error() string { return e.err.Error() + ": " + e.what }
func (e *dialError) Unwrap() error { return e.err }
func (e *dialError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.err, &t) && t.Timeout()
}

// fail wraps the error of a dial.
func (p *dialing) fail(err error) error {
	e := &net.OpError{Op: "dial", Net: "sctp", Err: contextError(err)}
	if len(p.remote) > 0 {
		e.Addr = &Addr{Port: p.port, Locators: p.remote}
	}
	return e
}
