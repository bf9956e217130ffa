package netmon

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel is the kernel's own word about links and addresses. Two sockets: what it tells unasked comes by one, the answer to
// a question by the other, so that the two cannot be mixed up.
type kernel struct {
	on    *watcher
	news  *netlink.Conn
	query *netlink.Conn
	asked chan struct{} // holds a token while a look is wanted
	done  chan struct{}
	once  sync.Once
}

// lookEvery is the least time between looks that somebody asked for: a look at all links of a large host takes milliseconds.
const lookEvery = 20 * time.Millisecond

// newsBuffer holds a few thousand changes while the reader is busy. More than that is a full look at everything.
const newsBuffer = 1 << 20

// openNetlink watches a network namespace by its open file, 0 for that of the calling thread.
func openNetlink(ns int, on *watcher) (source, error) {
	k := &kernel{on: on, asked: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	// Subscribed first: what changes while the question is answered is told again.
	k.news, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR})
	if err != nil {
		return nil, fmt.Errorf("netmon: %w", err)
	}
	k.query, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns})
	if err != nil {
		k.news.Close()
		return nil, fmt.Errorf("netmon: %w", err)
	}
	_ = k.news.SetReadBuffer(newsBuffer)
	if err := k.look(); err != nil {
		k.close()
		return nil, fmt.Errorf("netmon: %w", err)
	}
	go k.routineRead()
	go k.routineLook()
	return k, nil
}

func (k *kernel) ask() {
	select {
	case k.asked <- struct{}{}:
	default:
	}
}

// routineLook looks when asked to.
func (k *kernel) routineLook() {
	for {
		select {
		case <-k.done:
			return
		case <-k.asked:
		}
		_ = k.look() // should it fail, the news still come
		select {
		case <-k.done:
			return
		case <-time.After(lookEvery):
		}
	}
}

func (k *kernel) close() {
	k.once.Do(func() {
		close(k.done)
		k.news.Close()
		k.query.Close()
	})
}

// routineRead takes what the kernel tells until the sockets are closed.
func (k *kernel) routineRead() {
	pause := time.Duration(0)
	for {
		msgs, err := k.news.Receive()
		if err == nil {
			pause = 0
			k.on.turn.Lock()
			k.on.update(func(t *table) { t.take(msgs) })
			k.on.turn.Unlock()
			continue
		}
		// News were lost (ENOBUFS), or one could not be read: what is still queued may be older than what is gone, so it is
		// thrown away before everything is looked at anew.
		for again := true; again; {
			select {
			case <-k.done:
				return
			case <-time.After(pause):
			}
			pause = min(2*pause+time.Millisecond, time.Second)
			k.drain()
			again = k.look() != nil
		}
	}
}

// drain throws queued news away. By the socket itself: a deadline that has passed would keep a Conn from asking it at all.
// The kernel, which has lost one, tells no more until the queue was found empty, and does not say again that it lost some.
func (k *kernel) drain() {
	raw, err := k.news.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		var none [1]byte
		for range 1 << 16 {
			_, _, err := unix.Recvfrom(int(fd), none[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if err != nil && err != unix.EINTR && err != unix.ENOBUFS {
				return
			}
		}
	})
}

// lookTries is how often a look is repeated that a change in its midst has made incomplete.
const lookTries = 5

// look asks for all links and addresses. News that arrive meanwhile are taken afterwards.
func (k *kernel) look() error {
	k.on.turn.Lock()
	defer k.on.turn.Unlock()
	for try := 1; ; try++ {
		links, whole, err := k.dump(unix.RTM_GETLINK, skipStats())
		if err != nil {
			return err
		}
		addrs, whole2, err := k.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg))
		if err != nil {
			return err
		}
		if whole && whole2 || try == lookTries {
			k.on.update(func(t *table) {
				t.reset()
				t.take(links)
				t.take(addrs)
			})
			return nil
		}
	}
}

func (k *kernel) dump(what netlink.HeaderType, body []byte) (msgs []netlink.Message, whole bool, err error) {
	msgs, err = k.query.Execute(netlink.Message{Header: netlink.Header{Type: what, Flags: netlink.Request | netlink.Dump}, Data: body})
	whole = true
	for i := range msgs {
		whole = whole && msgs[i].Header.Flags&netlink.DumpInterrupted == 0
	}
	return msgs, whole, err
}

// noStats is RTEXT_FILTER_SKIP_STATS of the kernel's rtnetlink.h.
const noStats = 1 << 3

// skipStats is a question for links without their counters, which are most of the answer.
func skipStats() []byte {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.IFLA_EXT_MASK, noStats)
	mask, _ := ae.Encode() // of one number: cannot fail
	return append(make([]byte, unix.SizeofIfInfomsg), mask...)
}

// take applies messages about links and addresses; others, and what cannot be read, say nothing.
func (t *table) take(msgs []netlink.Message) {
	for i := range msgs {
		m := &msgs[i]
		switch m.Header.Type {
		case unix.RTM_NEWLINK:
			if l, index, ok := readLink(m.Data); ok {
				if l.name == "" {
					l.name = t.links[index].name
				}
				t.setLink(index, l)
			}
		case unix.RTM_DELLINK:
			if _, index, ok := readLink(m.Data); ok {
				t.dropLink(index)
			}
		case unix.RTM_NEWADDR:
			if a, index, ready, ok := readAddr(m.Data); ok {
				t.setAddr(a, index, ready)
			}
		case unix.RTM_DELADDR:
			if a, index, _, ok := readAddr(m.Data); ok {
				t.dropAddr(a, index)
			}
		}
	}
}

// readLink reads a struct ifinfomsg with its attributes. Messages of a bridge about its ports look the same but for the
// family; one of them says that the link is deleted when it has merely left the bridge.
func readLink(b []byte) (l link, index int, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, 0, false
	}
	var m unix.IfInfomsg
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&m)), unix.SizeofIfInfomsg), b)
	if m.Family != unix.AF_UNSPEC {
		return l, 0, false
	}
	// RUNNING follows the operational state of RFC 2863, LOWER_UP the carrier.
	const able = unix.IFF_RUNNING | unix.IFF_LOWER_UP
	l.up = m.Flags&unix.IFF_UP != 0
	l.running = m.Flags&able == able
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return l, 0, false
	}
	for ad.Next() {
		if ad.Type() == unix.IFLA_IFNAME {
			l.name = ad.String()
		}
	}
	return l, int(m.Index), ad.Err() == nil
}

// readAddr reads a struct ifaddrmsg with its attributes. ready is false while the address may not be used.
func readAddr(b []byte) (a netip.Addr, index int, ready, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, 0, false, false
	}
	var m unix.IfAddrmsg
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&m)), unix.SizeofIfAddrmsg), b)
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return a, 0, false, false
	}
	flags := uint32(m.Flags)
	var local, address netip.Addr
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL: // ours, where IFA_ADDRESS may be the peer's
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS:
			if v := ad.Bytes(); len(v) == 4 {
				flags = ad.Uint32()
			}
		}
	}
	if a = local; !a.IsValid() {
		a = address
	}
	ready = flags&unix.IFA_F_DADFAILED == 0 && (flags&unix.IFA_F_TENTATIVE == 0 || flags&unix.IFA_F_OPTIMISTIC != 0)
	return a, int(m.Index), ready, ad.Err() == nil && a.IsValid()
}
