package transport_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// raw is a peer that sends whatever packets a test writes, over UDP, against an association of the public API: what another
// implementation's conformance tests do. Where times matter it does so in virtual time, see newRaw.
type raw struct {
	t         *testing.T
	c         wireConn
	port      uint16
	mine, tag uint32
	tsn       serial.TSN // the first one we send
	theirs    serial.TSN // the first one they send
	b         *transport.Association
}

// wireConn is what the packets go through.
type wireConn interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	SetReadDeadline(t time.Time) error
}

// toOne is a packet connection as it looks to one who has one peer.
type toOne struct {
	net.PacketConn
	peer net.Addr
}

func (c toOne) Read(p []byte) (int, error) {
	n, _, err := c.ReadFrom(p)
	return n, err
}

func (c toOne) Write(p []byte) (int, error) { return c.WriteTo(p, c.peer) }

// inTime runs a test with a raw peer in virtual time, in which no machine is too busy to keep a timer.
func inTime(t *testing.T, test func(t *testing.T, x *lab)) {
	t.Helper()
	inLab(t, []string{"delay=1ms"}, test)
}

// newRaw makes a listener with cfg in a laboratory and an association with it by hand. AllStreams is set.
func newRaw(t *testing.T, x *lab, cfg transport.Config) *raw {
	cfg.AllStreams = true
	at := netip.AddrPortFrom(labB[0], labPort)
	l, err := transport.Listen(at.String(), with(cfg, x.sockets(labPort, labB[0])))
	require.NoError(t, err)
	c := toOne{x.sockets(7000, labA[0])[0], net.UDPAddrFromAddrPort(at)}
	r := &raw{t: t, c: c, port: at.Port(), mine: 0xabcd, tsn: 100}
	r.send(func(b *wire.Builder) {
		b.Init(wire.TypeInit, &wire.Init{Tag: r.mine, ARwnd: 1 << 20, OutStreams: 10, InStreams: 10, TSN: r.tsn})
	})
	ack := r.expect(wire.TypeInitAck)
	in, err := wire.ParseInit(ack)
	require.NoError(t, err)
	var p wire.SetupParams
	require.NoError(t, wire.ReadInitParams(in.Params, &p))
	r.tag, r.theirs = in.Tag, in.TSN
	r.send(func(b *wire.Builder) { b.Chunk(wire.TypeCookieEcho, 0, p.Cookie) })
	r.expect(wire.TypeCookieAck)
	r.b, err = l.AcceptAssociation(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = r.b.Abort("the test is over")
		_ = l.Close()
		_ = c.Close()
	})
	return r
}

// send sends one packet.
func (r *raw) send(build func(b *wire.Builder)) {
	var b wire.Builder
	b.Open(make([]byte, 0, 1400), wire.Header{SrcPort: 7000, DstPort: r.port, Tag: r.tag})
	build(&b)
	_, err := r.c.Write(b.Seal())
	require.NoError(r.t, err)
}

// data sends a DATA chunk with the TSN n after the first.
func (r *raw) data(n int, sid, ssn uint16, unordered, begin, end bool, text string) {
	r.send(func(b *wire.Builder) {
		b.Data(&wire.Data{TSN: r.tsn + serial.TSN(n), SID: sid, SSN: serial.SSN(ssn), Unordered: unordered, Begin: begin, End: end, Payload: []byte(text)})
	})
}

// expect waits for a packet with a chunk of type want and returns that; others are passed over.
func (r *raw) expect(want wire.ChunkType) wire.Chunk {
	r.t.Helper()
	buf := make([]byte, 2000)
	require.NoError(r.t, r.c.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		n, err := r.c.Read(buf)
		require.NoError(r.t, err, "waiting for %v", want)
		it := wire.Chunks(buf[:n])
		for c, ok := it.Next(); ok; c, ok = it.Next() {
			if c.Type == want {
				return c
			}
		}
	}
}

// acked waits for the SACK of the TSN n after the first.
func (r *raw) acked(n int) {
	r.t.Helper()
	for {
		if k := r.expect(wire.TypeSack); serial.TSN(binary.BigEndian.Uint32(k.Value)) == r.tsn+serial.TSN(n) {
			return
		}
	}
}

func (r *raw) read() (string, transport.MessageInfo) {
	r.t.Helper()
	buf := make([]byte, 1000)
	n, info, err := r.b.ReadMessage(buf)
	require.NoError(r.t, err)
	return string(buf[:n]), info
}

// RFC 9260 section 6.6: what comes out of the order of its stream is held until that is restored, whatever its TSN; other
// streams and unordered messages do not wait.
func TestRaw6_6Order(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, transport.Config{})
		r.data(0, 3, 1, false, true, true, "second")
		r.acked(0)
		r.data(1, 3, 9, true, true, true, "unordered")
		r.data(2, 4, 0, false, true, true, "other stream")
		r.data(3, 3, 2, false, true, true, "third")
		r.acked(3)
		for _, want := range []string{"unordered", "other stream"} {
			got, _ := r.read()
			require.Equal(t, want, got)
		}
		r.data(4, 3, 0, false, true, true, "first")
		for i, want := range []string{"first", "second", "third"} {
			got, info := r.read()
			require.Equal(t, want, got)
			require.EqualValues(t, i, info.Number)
			require.EqualValues(t, r.tsn+serial.TSN([]int{4, 0, 3}[i]), info.TSN)
		}
	})
}

// RFC 9260 section 6.9: fragments are put together in whatever order they come, of several streams at a time.
func TestRaw6_9Fragments(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, transport.Config{})
		r.data(5, 1, 0, false, false, true, "f")
		r.data(2, 0, 0, false, false, true, "c")
		r.data(3, 1, 0, false, true, false, "d")
		r.data(1, 0, 0, false, false, false, "b")
		r.data(4, 1, 0, false, false, false, "e")
		r.data(0, 0, 0, false, true, false, "a")
		r.acked(5)
		for _, want := range []string{"def", "abc"} { // as they became whole
			got, info := r.read()
			require.Equal(t, want, got)
			require.EqualValues(t, r.tsn+map[string]serial.TSN{"abc": 0, "def": 3}[want], info.TSN, "of the first fragment")
		}
	})
}

// RFC 9260 section 3.2 over the public API: a chunk type that stops the packet keeps the DATA behind it from being taken, the
// others do not, and reports name the chunk.
func TestRaw3_2UnknownChunks(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, transport.Config{})
		for i, c := range []struct {
			kind         wire.ChunkType
			stop, report bool
		}{{0x3c, true, false}, {0x7c, true, true}, {0xbc, false, false}, {0xfc, false, true}} {
			tsn := map[int]int{0: 0, 1: 0, 2: 0, 3: 1}[i]
			r.send(func(b *wire.Builder) {
				b.Chunk(c.kind, 0, []byte{1, 2, 3, 4})
				b.Data(&wire.Data{TSN: r.tsn + serial.TSN(tsn), SSN: serial.SSN(tsn), Begin: true, End: true, Payload: []byte{byte(c.kind)}})
			})
			if c.report {
				e := r.expect(wire.TypeError)
				require.Equal(t, []byte{0, 6, 0, 12, byte(c.kind), 0, 0, 8, 1, 2, 3, 4}, e.Value)
			}
			if !c.stop {
				r.acked(tsn)
				got, _ := r.read()
				require.Equal(t, string([]byte{byte(c.kind)}), got)
			}
		}
		require.EqualValues(t, 4, r.b.Stats().UnknownChunks)
	})
}

// RFC 9260 section 8.3 and 3.3.10 over the public API: a heartbeat comes back as it was, errors are told to the program.
func TestRawAnswersAndReports(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, transport.Config{})
		events := r.b.Subscribe(transport.EventRemoteError, transport.EventClosed)
		info := []byte{0, 1, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 9, 0, 4}
		r.send(func(b *wire.Builder) { b.Chunk(wire.TypeHeartbeat, 0, info) })
		require.Equal(t, info, r.expect(wire.TypeHeartbeatAck).Value)
		r.send(func(b *wire.Builder) { b.Chunk(wire.TypeError, 0, []byte{0, 1, 0, 8, 0, 77, 0, 0}) })
		ev := <-events
		require.EqualValues(t, wire.CauseInvalidStream, ev.Cause)
		require.Equal(t, []byte{0, 77, 0, 0}, ev.Info)
		r.send(func(b *wire.Builder) { b.Chunk(wire.TypeAbort, 0, append([]byte{0, 12, 0, 7}, "why"...)) })
		ev = <-events
		var end *transport.AssociationError
		require.ErrorAs(t, ev.Err, &end)
		require.Equal(t, transport.EndAborted, end.Kind)
		require.Equal(t, "why", string(end.Info))
	})
}
