//go:build unix

package udp

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// nowait sends without waiting: a plain sendto on the runtime's non-blocking descriptor.
type nowait struct {
	raw   syscall.RawConn
	inet6 bool

	// The call's arguments and results; single lets one writer in at a time.
	run  func(fd uintptr)
	opt  func(fd uintptr)
	buf  []byte
	to4  unix.SockaddrInet4
	to6  unix.SockaddrInet6
	df   bool
	done bool
	err  error

	zone  string // the last zone looked up
	scope uint32
}

func (w *nowait) init(_ *net.UDPConn, raw syscall.RawConn, inet6 bool) {
	w.raw, w.inet6 = raw, inet6
	w.run, w.opt = w.sendto, w.option
}

func (w *nowait) write(buf []byte, peer netip.AddrPort) error {
	addr := peer.Addr()
	if w.inet6 {
		w.to6.Addr, w.to6.Port, w.to6.ZoneId = addr.As16(), int(peer.Port()), 0
		if zone := addr.Zone(); zone != "" {
			if zone != w.zone {
				scope, ok := zoneScope(zone)
				if !ok {
					return ErrPeer
				}
				w.zone, w.scope = zone, scope
			}
			w.to6.ZoneId = w.scope
		}
	} else {
		w.to4.Addr, w.to4.Port = addr.As4(), int(peer.Port())
	}
	w.buf = buf
	err := w.raw.Control(w.run)
	w.buf = nil
	if err == nil {
		err = w.err
	}
	if err != nil {
		w.zone = "" // an interface may come back under another number
	}
	return err
}

func (w *nowait) sendto(fd uintptr) {
	for {
		if w.inet6 {
			w.err = unix.Sendto(int(fd), w.buf, 0, &w.to6)
		} else {
			w.err = unix.Sendto(int(fd), w.buf, 0, &w.to4)
		}
		if w.err != unix.EINTR {
			return
		}
	}
}

func (w *nowait) setDF(on bool) bool {
	w.df = on
	return w.raw.Control(w.opt) == nil && w.done
}

func (w *nowait) option(fd uintptr) { w.done = setDF(int(fd), w.inet6, w.df) }
