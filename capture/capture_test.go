package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-multihome/multihome/capture"
	"github.com/go-multihome/multihome/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	four  = netip.MustParseAddrPort("10.0.0.1:5000")
	four2 = netip.MustParseAddrPort("10.1.0.1:5000")
	peer4 = netip.MustParseAddrPort("10.0.0.2:6000")
	six   = netip.MustParseAddrPort("[fd00::1]:5000")
	peer6 = netip.MustParseAddrPort("[fd00::2]:6000")
	at    = time.Date(2026, 1, 31, 23, 59, 59, 123456789, time.UTC)
)

// data is an SCTP packet with one DATA chunk of n bytes.
func data(n int) []byte {
	var b wire.Builder
	b.Open(make([]byte, 0, 28+n+3), wire.Header{SrcPort: 5000, DstPort: 7, Tag: 1})
	b.Data(&wire.Data{Begin: true, End: true, Payload: bytes.Repeat([]byte{0xa5}, n)})
	return b.Seal()
}

// read is one packet of a capture as the library reads it.
type read struct {
	ci   gopacket.CaptureInfo
	data []byte
	opts pcapgo.NgPacketOptions
}

func readAll(t *testing.T, b []byte) (out []read, r *pcapgo.NgReader) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	for {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if err != nil {
			require.Equal(t, "EOF", err.Error())
			return out, r
		}
		out = append(out, read{ci, data, opts})
	}
}

func TestPackets(t *testing.T) {
	for _, udp := range []bool{false, true} {
		t.Run(fmt.Sprintf("udp %v", udp), func(t *testing.T) {
			var w bytes.Buffer
			c, err := capture.New(&w, &capture.Options{UDP: udp})
			require.NoError(t, err)
			type sample struct {
				sent        bool
				local, peer netip.AddrPort
				n           int
			}
			samples := []sample{
				{true, four, peer4, 1}, {false, four, peer4, 1000}, {true, six, peer6, 33}, {false, six, peer6, 1400}, {true, four2, peer4, 3},
				{true, four, peer4, 2}, {true, four, netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.0.0.2"), 6000), 4},
			}
			for i, s := range samples {
				c.Datagram(at.Add(time.Duration(i)), s.sent, s.local, s.peer, data(s.n))
			}
			c.Datagram(at, false, four, peer4, nil) // an empty datagram is one, too
			require.NoError(t, c.Close())
			st := c.Stats()
			require.EqualValues(t, len(samples)+1, st.Packets)
			require.Zero(t, st.Dropped)
			got, r := readAll(t, w.Bytes())
			require.Len(t, got, len(samples)+1)
			require.Equal(t, 3, r.NInterfaces())
			for i, s := range samples {
				g := got[i]
				require.True(t, g.ci.Timestamp.Equal(at.Add(time.Duration(i))))
				intf, err := r.Interface(g.ci.InterfaceIndex)
				require.NoError(t, err)
				require.Equal(t, s.local.String(), intf.Name)
				want := pcapgo.NgEpbFlagDirectionInbound
				if s.sent {
					want = pcapgo.NgEpbFlagDirectionOutbound
				}
				require.Equal(t, pcapgo.NgEpbFlag(want), g.opts.Flags.Direction)
				check(t, g.data, s.sent, s.local, s.peer, udp, data(s.n))
				first := i < 5 // of its direction and pair
				require.Equal(t, first && !udp, len(g.opts.Comments) == 1)
			}
			if !udp {
				require.Equal(t, "in UDP, from port 5000 to 6000", got[0].opts.Comments[0])
				require.Equal(t, "in UDP, from port 6000 to 5000", got[1].opts.Comments[0])
			}
		})
	}
}

// check compares a packet with what another implementation makes of the same.
func check(t *testing.T, got []byte, sent bool, local, peer netip.AddrPort, udp bool, payload []byte) {
	t.Helper()
	src, dst := local, peer
	if !sent {
		src, dst = dst, src
	}
	proto := layers.IPProtocolSCTP
	if udp {
		proto = layers.IPProtocolUDP
	}
	srcIP, dstIP := src.Addr().Unmap(), dst.Addr().Unmap()
	var net gopacket.NetworkLayer = &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: srcIP.AsSlice(), DstIP: dstIP.AsSlice()}
	if srcIP.Is6() {
		net = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: srcIP.AsSlice(), DstIP: dstIP.AsSlice()}
	}
	ls := []gopacket.SerializableLayer{net.(gopacket.SerializableLayer)}
	if udp {
		u := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
		require.NoError(t, u.SetNetworkLayerForChecksum(net))
		ls = append(ls, u)
	}
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(ls, gopacket.Payload(payload))...))
	require.Equal(t, buf.Bytes(), got)
}

func TestSnap(t *testing.T) {
	for _, udp := range []bool{false, true} {
		var whole, cut bytes.Buffer
		for w, snap := range map[*bytes.Buffer]int{&whole: 0, &cut: 28} {
			c, err := capture.New(w, &capture.Options{UDP: udp, Snap: snap})
			require.NoError(t, err)
			c.Datagram(at, true, six, peer6, data(999))
			c.Datagram(at, true, four, peer4, data(1)[:20])
			require.NoError(t, c.Close())
		}
		w, _ := readAll(t, whole.Bytes())
		g, _ := readAll(t, cut.Bytes())
		headers := 40
		if udp {
			headers = 48
		}
		require.Len(t, g[0].data, headers+28)
		require.Equal(t, w[0].data[:headers+28], g[0].data, "lengths and checksums are those of the whole packet")
		require.Equal(t, len(w[0].data), g[0].ci.Length)
		require.Equal(t, w[1].data, g[1].data, "what is short stays whole")
	}
}

func TestEmptyAndClosed(t *testing.T) {
	var w bytes.Buffer
	c, err := capture.New(&w, nil)
	require.NoError(t, err)
	require.NoError(t, c.Flush())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Flush())
	n := w.Len()
	require.NotZero(t, n)
	c.Datagram(at, true, four, peer4, data(1))
	require.Equal(t, n, w.Len())
	got, _ := readAll(t, w.Bytes())
	require.Empty(t, got)
	(*capture.Capture)(nil).Datagram(at, true, four, peer4, data(1))
}

func TestLimit(t *testing.T) {
	var w bytes.Buffer
	c, err := capture.New(&w, &capture.Options{Limit: 64 << 10})
	require.NoError(t, err)
	for range 100 {
		c.Datagram(at, true, four, peer4, data(1400))
	}
	require.NoError(t, c.Close())
	st := c.Stats()
	require.EqualValues(t, 100, st.Packets+st.Dropped)
	require.Greater(t, st.Packets, uint64(30))
	require.LessOrEqual(t, w.Len(), 64<<10)
	got, _ := readAll(t, w.Bytes())
	require.Len(t, got, int(st.Packets))
}

// slow is a disk that waits to be told.
type slow struct {
	bytes.Buffer
	gate chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.gate
	return s.Buffer.Write(p)
}

func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slow{gate: make(chan struct{})}
		c, err := capture.New(w, &capture.Options{Buffer: 256 << 10})
		require.NoError(t, err)
		c.Datagram(at, true, four, peer4, data(1))
		synctest.Wait() // the writer holds the first packet and waits
		const n = 1000
		for range n {
			c.Datagram(at, true, four, peer4, data(1000))
		}
		held := c.Stats()
		require.Greater(t, held.Dropped, uint64(n/2), "128 KiB wait, the rest is left out")
		close(w.gate)
		require.NoError(t, c.Flush())
		c.Datagram(at, true, four, peer4, data(2))
		require.NoError(t, c.Close())
		st := c.Stats()
		require.EqualValues(t, n+2, st.Packets+st.Dropped)
		require.Equal(t, held.Dropped, st.Dropped)
		got, _ := readAll(t, w.Bytes())
		last := got[len(got)-1]
		require.NotNil(t, last.opts.DropCount)
		require.Equal(t, st.Dropped, *last.opts.DropCount, "the reader learns how many are missing, and where")
	})
}

// full is a disk without room.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteError(t *testing.T) {
	c, err := capture.New(&full{left: 4 << 10}, nil)
	require.NoError(t, err)
	for range 10 {
		c.Datagram(at, true, four, peer4, data(1000))
	}
	require.ErrorIs(t, c.Flush(), errFull)
	for range 5 {
		c.Datagram(at, true, four, peer4, data(1000))
	}
	require.ErrorIs(t, c.Close(), errFull)
	require.GreaterOrEqual(t, c.Stats().Dropped, uint64(5))
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	// What other programs and other captures wrote stays; what an earlier run wrote counts.
	keep := []string{"link.pcapng", "link_20200101T000000Z_00001.txt", "other_20200101T000000Z_00001.pcapng", "link_x_00001.pcapng", "link_20200101T000000Z_1.pcapng"}
	for _, n := range append(keep, "link_20200101T000000Z_00001.pcapng") {
		require.NoError(t, os.WriteFile(filepath.Join(dir, n), nil, 0o600))
	}
	c, err := capture.Rotate(filepath.Join(dir, "link.pcapng"), &capture.Options{FileSize: 64 << 10, Files: 3})
	require.NoError(t, err)
	const n = 400
	for i := range n {
		c.Datagram(at.Add(time.Duration(i)), i%2 == 0, four, peer4, data(1000))
	}
	require.NoError(t, c.Close())
	st := c.Stats()
	require.EqualValues(t, n, st.Packets)
	require.Greater(t, st.Files, uint64(3))
	for _, name := range keep {
		require.FileExists(t, filepath.Join(dir, name))
	}
	files, err := filepath.Glob(filepath.Join(dir, "link_2???????T??????Z_?????.pcapng"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	next := 0
	for i, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.LessOrEqual(t, len(b), 64<<10)
		got, _ := readAll(t, b)
		if i == 0 {
			next = int(got[0].ci.Timestamp.Sub(at))
		}
		for _, g := range got { // the newest files hold the newest packets, without a hole
			require.Equal(t, time.Duration(next), g.ci.Timestamp.Sub(at))
			next++
		}
		require.Len(t, got[0].opts.Comments, 1, "each file stands alone")
	}
	require.Equal(t, n, next)
}

func TestRotateFails(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "missing", "a.pcapng"), dir + string(filepath.Separator), filepath.Join(dir, "file", "x")} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		_, err := capture.Rotate(path, nil)
		require.Error(t, err, path)
		require.True(t, strings.HasPrefix(err.Error(), "capture: "), err)
	}
	// A directory that goes away ends the capture, not the program.
	gone := filepath.Join(dir, "gone")
	require.NoError(t, os.Mkdir(gone, 0o700))
	c, err := capture.Rotate(filepath.Join(gone, "a.pcapng"), nil)
	require.NoError(t, err)
	require.NoError(t, os.Remove(gone))
	for range 3 {
		c.Datagram(at, true, four, peer4, data(1000))
		require.ErrorIs(t, c.Flush(), os.ErrNotExist)
	}
	require.ErrorIs(t, c.Close(), os.ErrNotExist)
}

func TestOptions(t *testing.T) {
	for _, o := range []capture.Options{{Snap: -1}, {Buffer: 1}, {Limit: 1}, {Limit: -1}, {FileSize: 1000}, {Files: 1}, {Files: -3}} {
		_, err := capture.New(new(bytes.Buffer), &o)
		require.ErrorContains(t, err, "capture: ", "%+v", o)
		_, err = capture.Rotate(filepath.Join(t.TempDir(), "a.pcapng"), &o)
		require.ErrorContains(t, err, "capture: ", "%+v", o)
	}
	_, err := capture.New(nil, nil)
	require.Error(t, err)
}

func TestManyAtOnce(t *testing.T) {
	var w bytes.Buffer
	c, err := capture.New(&w, nil)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				peer := netip.AddrPortFrom(peer4.Addr(), uint16(1000*g+i))
				c.Datagram(at, true, netip.AddrPortFrom(four.Addr(), uint16(i+1)), peer, data(i+1))
			}
		})
	}
	wg.Wait()
	require.NoError(t, c.Close())
	got, r := readAll(t, w.Bytes())
	require.Len(t, got, 800)
	require.Equal(t, 200, r.NInterfaces())
}

// TestFlushAndClose lets both come at once; nobody is left waiting.
func TestFlushAndClose(t *testing.T) {
	for range 200 {
		c, err := capture.New(new(bytes.Buffer), nil)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { c.Flush() })
		}
		c.Datagram(at, true, four, peer4, data(1))
		require.NoError(t, c.Close())
		wg.Wait()
	}
}

// TestAllocations pins that taking a packet costs none once memory has grown.
func TestAllocations(t *testing.T) {
	w := &slow{gate: make(chan struct{})}
	c, err := capture.New(w, nil)
	require.NoError(t, err)
	pkt := data(1000)
	for range 3000 {
		c.Datagram(at, true, four, peer4, pkt)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { c.Datagram(at, true, four, peer4, pkt) }))
	require.Zero(t, c.Stats().Dropped)
	close(w.gate)
	require.NoError(t, c.Close())
}

func BenchmarkDatagram(b *testing.B) {
	c, err := capture.New(discard{}, nil)
	require.NoError(b, err)
	pkt := data(1150)
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		c.Datagram(at, true, four, peer4, pkt)
	}
	b.ReportMetric(float64(c.Stats().Dropped)/float64(b.N), "dropped/op")
	require.NoError(b, c.Close())
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
