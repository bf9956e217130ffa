package main

import (
	"container/list"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A lane is one of the two roads between the endpoints: the first locator of one side to the first of the other, the second
// to the second. It stands outside the library, between it and the sockets, has a rate and a delay, and can be cut: then it
// swallows what it is given, and nobody is told.
type lane struct {
	name  string
	rate  int           // bytes per second
	delay time.Duration // one way

	mu  sync.Mutex
	cut bool
	up  way // client to server
	dn  way // server to client
}

// way is one direction of a lane. All counts are UDP payload bytes.
type way struct {
	offered   int64 // given by the endpoint
	delivered int64 // put on the wire
	swallowed int64 // while the lane was cut
	queueFull int64
	failed    int64 // refused by the socket
	busyUntil time.Time
	queue     list.List
	wake      chan struct{}
}

type parcel struct {
	at   time.Time
	data []byte
	to   net.Addr
	via  net.PacketConn
}

// queueTime is how much traffic the lane's queue holds before it drops, like a router's.
const queueTime = 20 * time.Millisecond

func newLane(name string, rate int, delay time.Duration) *lane {
	l := &lane{name: name, rate: rate, delay: delay}
	for _, w := range []*way{&l.up, &l.dn} {
		w.wake = make(chan struct{}, 1)
	}
	return l
}

// setCut cuts or restores the lane in both directions.
func (l *lane) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// passed returns the bytes that went through so far, both directions.
func (l *lane) passed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up.delivered + l.dn.delivered
}

// counts returns one direction's counters.
func (l *lane) counts(w *way) way {
	l.mu.Lock()
	defer l.mu.Unlock()
	return way{offered: w.offered, delivered: w.delivered, swallowed: w.swallowed, queueFull: w.queueFull}
}

// send takes a packet onto the lane.
func (l *lane) send(w *way, via net.PacketConn, p []byte, to net.Addr) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	w.offered += int64(len(p))
	if l.cut {
		w.swallowed += int64(len(p))
		return
	}
	if w.busyUntil.Before(now) {
		w.busyUntil = now
	}
	if w.busyUntil.Sub(now) > queueTime {
		w.queueFull += int64(len(p))
		return
	}
	w.busyUntil = w.busyUntil.Add(time.Duration(len(p)) * time.Second / time.Duration(l.rate))
	w.queue.PushBack(parcel{w.busyUntil.Add(l.delay), append([]byte(nil), p...), to, via})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// carry delivers what has travelled long enough, until done is closed. What is under way when the lane is cut is lost
// with it.
func (l *lane) carry(w *way, done <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(l.deliver(w))
		select {
		case <-done:
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// deliver puts every parcel that is due on the wire and returns how long the next one has to go.
func (l *lane) deliver(w *way) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w.queue.Len() > 0 {
		p := w.queue.Front().Value.(parcel)
		if wait := time.Until(p.at); wait > 0 {
			return wait
		}
		w.queue.Remove(w.queue.Front())
		if l.cut {
			w.swallowed += int64(len(p.data))
			continue
		}
		if _, err := p.via.WriteTo(p.data, p.to); err != nil {
			w.failed += int64(len(p.data))
			continue
		}
		w.delivered += int64(len(p.data))
	}
	return time.Hour
}

// conn is a socket whose packets leave by a lane or not at all: no packet may walk around it.
type conn struct {
	net.PacketConn
	lanes map[netip.AddrPort]*lane // by destination
	up    bool
}

func (c *conn) WriteTo(p []byte, to net.Addr) (int, error) {
	dest := to.(*net.UDPAddr).AddrPort()
	dest = netip.AddrPortFrom(dest.Addr().Unmap(), dest.Port())
	l := c.lanes[dest]
	if l == nil {
		return len(p), nil // two providers, and no road from one into the other
	}
	w := &l.dn
	if c.up {
		w = &l.up
	}
	l.send(w, c.PacketConn, p, to)
	return len(p), nil
}

// SetWriteDeadline does nothing: WriteTo never waits, and the lane writes to the socket later than WriteTo returns, so a
// deadline that passed meanwhile must not reach it.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// roads opens two sockets for each side and joins them by two lanes.
func roads(rate int, delay time.Duration) (lanes []*lane, client, server []net.PacketConn, err error) {
	pools := [][]string{{"127.0.0.1", "127.0.0.2"}, {"127.0.0.1", "::1"}}
	for _, pool := range pools {
		if client, err = open(pool); err != nil {
			continue
		}
		if server, err = open(pool); err != nil {
			return nil, nil, nil, err
		}
		break
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("this machine has neither 127.0.0.2 nor ::1 on its loopback: %w", err)
	}
	for i := range client {
		l := newLane(fmt.Sprintf("path %d", i+1), rate, delay)
		lanes = append(lanes, l)
		a, b := address(client[i]), address(server[i])
		client[i] = &conn{client[i], map[netip.AddrPort]*lane{b: l}, true}
		server[i] = &conn{server[i], map[netip.AddrPort]*lane{a: l}, false}
	}
	return lanes, client, server, nil
}

func address(c net.PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// open binds one UDP port, the same number, at every address.
func open(addrs []string) (conns []net.PacketConn, err error) {
	for range 20 {
		conns = nil
		port := "0"
		for _, a := range addrs {
			var c net.PacketConn
			if c, err = net.ListenPacket("udp", net.JoinHostPort(a, port)); err != nil {
				break
			}
			conns = append(conns, c)
			_, port, _ = net.SplitHostPort(c.LocalAddr().String())
		}
		if err == nil {
			return conns, nil
		}
		for _, c := range conns {
			c.Close()
		}
	}
	return nil, err
}
