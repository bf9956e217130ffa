//go:build !unix

package udp

import (
	"net"
	"net/netip"
	"syscall"
)

// nowait sends with a deadline so that a full send buffer does not hold a writer up for long.
type nowait struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	inet6 bool
	impatient
}

func (w *nowait) init(conn *net.UDPConn, raw syscall.RawConn, inet6 bool) {
	w.conn, w.raw, w.inet6 = conn, raw, inet6
}

func (w *nowait) write(buf []byte, peer netip.AddrPort) error {
	for {
		_ = w.conn.SetWriteDeadline(w.deadline())
		_, err := w.conn.WriteToUDPAddrPort(buf, peer)
		if again, err := w.ended(err); !again {
			return err
		}
	}
}

func (w *nowait) setDF(on bool) (done bool) {
	err := w.raw.Control(func(fd uintptr) { done = setDF(int(fd), w.inet6, on) })
	return err == nil && done
}
