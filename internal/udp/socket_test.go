//go:build unix || windows

package udp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
)

func TestBatches(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() Socket) {
		a, b := open(), open()
		batch := NewBatch(16, false)
		next := 0
		for _, n := range []int{1, 2, 16, 17, 64, 65, 130} { // below, at and above the sizes of both scratches
			pkts := packets(n, 600, b.Local())
			sent, err := a.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, n, sent)
			readN(t, b, batch, 0, n, 600, a.Local())
			next += n
		}
		sent, err := a.WriteBatch(nil)
		require.NoError(t, err)
		require.Zero(t, sent)

		out, ok := StatsOf(a)
		require.True(t, ok)
		in, _ := StatsOf(b)
		require.EqualValues(t, next, out.PacketsOut)
		require.EqualValues(t, next*600, out.BytesOut)
		require.EqualValues(t, next, in.PacketsIn)
		require.EqualValues(t, next*600, in.BytesIn)
		require.Zero(t, in.Cut+in.Unnamed+in.ReadErrors+in.Overflows+out.Blocked+out.SendErrors)
	})
}

// A burst of large datagrams into small slots: the first is taken whole, the rest may be cut once, then all fit.
func TestLargeDatagrams(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() Socket) {
		a, b := open(), open()
		batch := NewBatch(32, false)
		for _, size := range []int{2048, 2049, 9000, 40000} {
			n, err := a.WriteBatch(packets(3, size, b.Local()))
			require.NoError(t, err)
			require.Equal(t, 3, n)
			before, _ := StatsOf(b)
			for got := uint64(0); got < 3; {
				require.NoError(t, read(t, b, batch))
				for _, s := range batch.Slots {
					for k := range s.Datagrams() {
						require.Len(t, s.Datagram(k), size)
					}
				}
				st, _ := StatsOf(b)
				got = st.PacketsIn + st.Cut - before.PacketsIn - before.Cut
			}
			_, err = a.WriteBatch(packets(3, size, b.Local()))
			require.NoError(t, err)
			readN(t, b, batch, 0, 3, size, a.Local())
		}
		st, _ := StatsOf(b)
		require.LessOrEqual(t, st.Cut, uint64(6), "two of three at most, at each of three growths")
	})
}

// One packet that cannot be sent stops the batch at itself, with its own error; the caller goes on behind it.
func TestErrorOfOnePacket(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() Socket) {
		a, b := open(), open()
		tooBigForUDP := make([]byte, MaxDatagram)
		other := netip.AddrPortFrom(loop6, 9)
		if b.Local().Addr().Is6() {
			other = netip.MustParseAddrPort("[fe80::1%no-such-interface]:9")
			if f, ok := a.(*single); ok {
				if _, ok := f.conn.(*foreign); ok {
					other = netip.AddrPort{} // what it takes a zone for is its own matter
				}
			}
		}
		for _, tc := range []struct {
			name string
			bad  pktbuf.Packet
			is   func(error) bool
		}{
			{"too big", pktbuf.Packet{Buf: tooBigForUDP, Peer: b.Local()}, IsTooBig},
			{"port 0", pktbuf.Packet{Buf: []byte("x"), Peer: netip.AddrPortFrom(b.Local().Addr(), 0)}, IsLocalFault},
			{"no peer", pktbuf.Packet{Buf: []byte("x")}, IsLocalFault},
			{"cannot be named", pktbuf.Packet{Buf: []byte("x"), Peer: other}, func(err error) bool { return err != nil }},
		} {
			t.Run(tc.name, func(t *testing.T) {
				for _, at := range []int{0, 1, 5, 63, 64, 69} {
					pkts := packets(70, 100, b.Local())
					pkts[at].Buf, pkts[at].Peer = tc.bad.Buf, tc.bad.Peer
					n, err := a.WriteBatch(pkts)
					require.Equal(t, at, n)
					require.True(t, tc.is(err), "%v", err)
					n, err = a.WriteBatch(pkts[at+1:])
					require.NoError(t, err)
					require.Equal(t, 69-at, n)
					copy(pkts[at:], pkts[at+1:])
					requireNumbers(t, b, pkts[:69])
				}
			})
		}
	})
}

func TestCloseFreesReader(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() Socket) {
		s := open()
		done := make(chan error, 1)
		go func() {
			b := NewBatch(4, false)
			err := s.ReadBatch(b)
			if err == net.ErrClosed {
				err = s.ReadBatch(b) // and again
			}
			done <- err
		}()
		require.NoError(t, s.Close())
		select {
		case err := <-done:
			require.True(t, err == net.ErrClosed, "%v", err)
		case <-time.After(patienceOfTest):
			t.Fatal("the reader still waits")
		}
		n, err := s.WriteBatch(packets(1, 10, s.Local()))
		require.Zero(t, n)
		require.True(t, err == net.ErrClosed, "%v", err)
		require.Error(t, s.Close(), "second close")
		st, _ := StatsOf(s)
		require.Zero(t, st.ReadErrors)
	})
}

// Many writers at once, one reader: every packet arrives, whole.
func TestManyWriters(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() Socket) {
		const writers, rounds, per = 4, 25, 8
		a, b := open(), open()
		var wg sync.WaitGroup
		turn := make(chan struct{}, 4) // keeps the receive buffer from overflowing
		for w := range writers {
			wg.Go(func() {
				pkts := packets(per, 200, b.Local())
				for i := range pkts {
					pkts[i].Buf[10] = byte(w)
					pkts[i].NoDF = i == 3 && w == 0
				}
				for range rounds {
					turn <- struct{}{}
					if n, err := a.WriteBatch(pkts); err != nil || n != per {
						t.Errorf("wrote %d: %v", n, err)
					}
				}
			})
		}
		batch := NewBatch(64, false)
		var got [writers]int
		for total, freed := 0, 0; total < writers*rounds*per; {
			require.NoError(t, read(t, b, batch))
			for _, s := range batch.Slots {
				for k := range s.Datagrams() {
					require.Len(t, s.Datagram(k), 200)
					got[s.Datagram(k)[10]]++
					total++
				}
			}
			for ; freed < total/per; freed++ {
				<-turn
			}
		}
		wg.Wait()
		for _, n := range got {
			require.Equal(t, rounds*per, n)
		}
	})
}

func TestAllocs(t *testing.T) {
	for _, k := range kinds[:2] {
		for _, addr := range []netip.Addr{loop4, loop6} {
			t.Run(k.name+"/"+addr.String(), func(t *testing.T) {
				needs.Address(t, addr)
				a, b := k.open(t, addr), k.open(t, addr)
				defer a.Close()
				defer b.Close()
				batch := NewBatch(64, false)
				pkts := packets(8, 1200, b.Local())
				pkts[5].NoDF = true
				require.Zero(t, testing.AllocsPerRun(200, func() {
					if n, err := a.WriteBatch(pkts); n != len(pkts) || err != nil {
						t.Errorf("wrote %d: %v", n, err)
					}
					for got := 0; got < len(pkts); got += arrived(batch) {
						if err := b.ReadBatch(batch); err != nil {
							t.Error(err)
							return
						}
					}
				}))
			})
		}
	}
}

func TestBatchMemory(t *testing.T) {
	peer := netip.AddrPortFrom(loop4, 1)
	b := NewBatch(64, false)
	require.Equal(t, 64, b.Cap())
	b.Reset()
	require.Len(t, b.mem, 65536+63*smallSlot)
	require.True(t, b.Append(make([]byte, MaxDatagram), peer, 1), "slot 0 takes any datagram")
	require.False(t, b.Append(make([]byte, MaxDatagram), peer, 1), "slot 1 not yet")
	old := b.Slots[0].Buf
	old[7] = 77
	b.Reset()
	require.Equal(t, fewSlots, b.Cap())
	require.LessOrEqual(t, len(b.mem), batchMemory)
	for i := range fewSlots {
		require.True(t, b.Append(make([]byte, MaxDatagram-i), peer, 2))
	}
	require.False(t, b.Append(nil, peer, 0), "full")
	require.EqualValues(t, 77, old[7], "the old memory is not reused while somebody looks")
	for i, s := range b.Slots {
		require.Len(t, s.Buf, MaxDatagram-i)
		require.Equal(t, len(s.Buf), cap(s.Buf), "appending to one slot cannot reach the next")
		require.Equal(t, Slot{Buf: s.Buf, Peer: peer, ECN: 2}, s)
	}

	require.Equal(t, 1, NewBatch(0, false).Cap())
	gro := NewBatch(4, true)
	gro.Reset()
	for range 4 {
		require.True(t, gro.Append(make([]byte, MaxDatagram), peer, 0))
	}
}

func TestFaults(t *testing.T) {
	wrapped := &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", unreachable)}
	require.True(t, IsLocalFault(unreachable))
	require.True(t, IsLocalFault(wrapped))
	require.True(t, IsLocalFault(ErrPeer))
	require.False(t, IsTooBig(wrapped))
	require.True(t, IsTooBig(messageTooBig))
	require.False(t, IsLocalFault(messageTooBig))
	for _, err := range []error{nil, io.EOF, ErrBlocked, net.ErrClosed, syscall.Errno(0)} {
		require.False(t, IsLocalFault(err), "%v", err)
		require.False(t, IsTooBig(err), "%v", err)
	}
}

// fake is a net.PacketConn as a program might bring along.
type fake struct {
	net.PacketConn // nil: what is not overridden must not be called
	local          net.Addr
	in             chan []byte
	from           net.Addr
	write          func(p []byte, to net.Addr) (int, error)
	readErr        error
	deadline       time.Time
}

func (f *fake) LocalAddr() net.Addr                { return f.local }
func (f *fake) SetDeadline(time.Time) error        { return nil }
func (f *fake) SetReadDeadline(time.Time) error    { return nil }
func (f *fake) SetWriteDeadline(t time.Time) error { f.deadline = t; return nil }
func (f *fake) Close() error                       { close(f.in); return nil }
func (f *fake) WriteTo(p []byte, to net.Addr) (int, error) {
	return f.write(p, to)
}

func (f *fake) ReadFrom(p []byte) (int, net.Addr, error) {
	d, ok := <-f.in
	if !ok {
		return 0, nil, errors.New("fake: gone")
	}
	if d == nil {
		return 0, nil, f.readErr
	}
	return copy(p, d), f.from, nil
}

// named prints as its address does, without being a *net.UDPAddr.
type named string

func (n named) Network() string { return "relay" }
func (n named) String() string  { return string(n) }

func TestForeign(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.9:5000")
	var wrote []string
	f := &fake{local: named("relay-7"), in: make(chan []byte, 4), from: named("192.0.2.9:5000")}
	f.write = func(p []byte, to net.Addr) (int, error) {
		wrote = append(wrote, string(p)+" to "+to.String())
		return len(p), nil
	}
	_, err := Wrap(f, netip.AddrPort{})
	require.ErrorContains(t, err, "relay-7", "LocalAddr does not tell")
	local := netip.MustParseAddrPort("198.51.100.1:9899")
	s, err := Wrap(f, local)
	require.NoError(t, err)
	require.Equal(t, local, s.Local())
	st, _ := StatsOf(s)
	require.False(t, st.DF)

	n, err := s.WriteBatch([]pktbuf.Packet{{Buf: []byte("a"), Peer: peer}, {Buf: []byte("b"), Peer: peer, NoDF: true}})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []string{"a to 192.0.2.9:5000", "b to 192.0.2.9:5000"}, wrote)

	b := NewBatch(4, false)
	f.in <- []byte("hello")
	require.NoError(t, s.ReadBatch(b))
	require.Equal(t, []Slot{{Buf: []byte("hello"), Peer: peer}}, b.Slots)

	// A source without an address is dropped, a passing error is returned as it is, and reading goes on.
	f.from = named("nowhere")
	f.in <- []byte("lost")
	f.in <- nil
	f.readErr = unreachable
	require.Equal(t, f.readErr, s.ReadBatch(b))
	st, _ = StatsOf(s)
	require.EqualValues(t, 1, st.Unnamed)
	require.EqualValues(t, 1, st.ReadErrors)

	require.NoError(t, s.Close())
	require.True(t, s.ReadBatch(b) == net.ErrClosed, "whatever the connection calls it")
}

func TestForeignDropsAndBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := netip.MustParseAddrPort("192.0.2.9:5000")
		f := &fake{local: named("198.51.100.1:1"), in: make(chan []byte)}
		wrote := 0
		f.write = func(p []byte, _ net.Addr) (int, error) {
			if wrote++; wrote == 3 || wrote == 4 {
				time.Sleep(time.Until(f.deadline)) // as a connection with a full buffer does
				return 0, os.ErrDeadlineExceeded
			}
			return len(p), nil
		}
		s, err := Wrap(f, netip.AddrPort{})
		require.NoError(t, err)
		start := time.Now()
		n, err := s.WriteBatch(packets(5, 10, to))
		require.Equal(t, 2, n)
		require.Equal(t, ErrBlocked, err)
		require.Equal(t, tries*patience, time.Since(start))
		start, wrote = time.Now(), 3
		n, err = s.WriteBatch(packets(5, 10, to))
		require.Zero(t, n)
		require.Equal(t, ErrBlocked, err)
		require.Equal(t, brief, time.Since(start), "it was late already")
		n, err = s.WriteBatch(packets(5, 10, to))
		require.NoError(t, err)
		require.Equal(t, 5, n)
		st, _ := StatsOf(s)
		require.EqualValues(t, 2, st.Blocked)
		require.EqualValues(t, 7, st.PacketsOut)
	})
}

// A machine that is busy elsewhere lets the deadline pass before a write is tried. Nothing is full then, and nothing lost.
func TestForeignTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := netip.MustParseAddrPort("192.0.2.9:5000")
		f := &fake{local: named("198.51.100.1:1"), in: make(chan []byte)}
		for slow := range 5 {
			wrote := 0
			f.write = func(p []byte, _ net.Addr) (int, error) {
				if wrote++; wrote == 1+slow {
					time.Sleep(50 * time.Millisecond) // not scheduled
				}
				if !time.Now().Before(f.deadline) {
					return 0, os.ErrDeadlineExceeded
				}
				return len(p), nil
			}
			s, err := Wrap(f, netip.AddrPort{})
			require.NoError(t, err)
			n, err := s.WriteBatch(packets(5, 10, to))
			require.NoError(t, err)
			require.Equal(t, 5, n)
			require.Equal(t, 6, wrote)
		}
	})
}

func TestWrap(t *testing.T) {
	conn := listenUDP(t, loop4)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(-time.Hour)))
	s, err := Wrap(conn, netip.AddrPort{})
	require.NoError(t, err)
	defer s.Close()
	_, foreignPath := s.(*single)
	require.Equal(t, !batchSystem, foreignPath, "exactly *net.UDPConn is the kernel's")
	n, err := s.WriteBatch(packets(1, 10, s.Local()))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	readN(t, s, NewBatch(1, false), 0, 1, 10, s.Local()) // the old deadline is gone

	embedded := struct{ *net.UDPConn }{listenUDP(t, loop4)}
	s2, err := Wrap(embedded, netip.AddrPort{})
	require.NoError(t, err)
	defer s2.Close()
	require.IsType(t, &single{}, s2, "a type of its own may have its own methods")

	connected, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Local()))
	require.NoError(t, err)
	defer connected.Close()
	_, err = Wrap(connected, netip.AddrPort{})
	require.ErrorContains(t, err, "connected")

	all, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer all.Close()
	_, err = Wrap(all, netip.AddrPort{})
	require.ErrorContains(t, err, "one address")
	_, err = Wrap(all, netip.AddrPortFrom(loop4, 0))
	require.ErrorContains(t, err, "no port")
	_, err = Wrap(nil, netip.AddrPort{})
	require.Error(t, err)
}

// A socket bound to all addresses of both families, with the locator it stands for declared, names peers of both.
func TestWrapDualStack(t *testing.T) {
	needs.Address(t, loop6)
	all, err := net.ListenUDP("udp", &net.UDPAddr{})
	require.NoError(t, err)
	local := netip.AddrPortFrom(loop4, uint16(all.LocalAddr().(*net.UDPAddr).Port))
	s, err := Wrap(struct{ net.PacketConn }{all}, local)
	if batchSystem {
		s, err = Wrap(all, local)
	}
	require.NoError(t, err)
	defer s.Close()
	b := NewBatch(4, false)
	for _, addr := range []netip.Addr{loop4, loop6} {
		peer := kinds[0].open(t, addr)
		defer peer.Close()
		n, err := s.WriteBatch(packets(2, 100, peer.Local()))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		readN(t, peer, b, 0, 2, 100, netip.AddrPortFrom(addr, local.Port()))
		n, err = peer.WriteBatch(packets(2, 100, netip.AddrPortFrom(addr, local.Port())))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		readN(t, s, b, 0, 2, 100, peer.Local())
	}
}
