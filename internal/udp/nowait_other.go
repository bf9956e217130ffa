//go:build !unix

package udp

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// nowait sends with a deadline so short that a full send buffer holds a writer up no longer than that.
type nowait struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	inet6 bool
}

func (w *nowait) init(conn *net.UDPConn, raw syscall.RawConn, inet6 bool) {
	w.conn, w.raw, w.inet6 = conn, raw, inet6
}

func (w *nowait) begin() error { return w.conn.SetWriteDeadline(time.Now().Add(patience)) }

func (w *nowait) write(buf []byte, peer netip.AddrPort) error {
	_, err := w.conn.WriteToUDPAddrPort(buf, peer)
	return err
}

func (w *nowait) setDF(on bool) (done bool) {
	err := w.raw.Control(func(fd uintptr) { done = setDF(int(fd), w.inet6, on) })
	return err == nil && done
}
