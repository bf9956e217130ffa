package transport_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// stranger sends packets to a listener and sees each answer. Every packet is followed by one that must be answered, so that
// "no answer" is known without waiting.
type stranger struct {
	t     *testing.T
	l     *transport.Listener
	c     *net.UDPConn
	port  uint16 // the listener's
	fence uint32
}

// sctpPort is the stranger's.
const sctpPort = 7000

func newStranger(t *testing.T) *stranger {
	l, err := transport.Listen(loop, &transport.Config{AllStreams: true})
	require.NoError(t, err)
	at := netip.MustParseAddrPort(l.Addr().String())
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = l.Close()
	})
	return &stranger{t: t, l: l, c: c, port: at.Port(), fence: 0xf0000000}
}

// packet is a whole packet: chunks in hexadecimal, blanks are for the eye. It is sent as it is, padding or not.
func packet(src, dst uint16, tag uint32, chunks string) []byte {
	p := make([]byte, wire.HeaderLen)
	binary.BigEndian.PutUint16(p, src)
	binary.BigEndian.PutUint16(p[2:], dst)
	binary.BigEndian.PutUint32(p[4:], tag)
	body, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(chunks))
	if err != nil {
		panic(err)
	}
	p = append(p, body...)
	wire.SetChecksum(p)
	return p
}

// answers sends a packet and returns what comes back, as "tag chunk chunk" in hexadecimal.
func (s *stranger) answers(pkt []byte) (got [][]byte) {
	s.t.Helper()
	s.fence++
	_, err := s.c.Write(pkt)
	require.NoError(s.t, err)
	_, err = s.c.Write(packet(sctpPort+1, s.port, s.fence, "04000008 00010004")) // out of the blue: ABORT with the T bit
	require.NoError(s.t, err)
	require.NoError(s.t, s.c.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		buf := make([]byte, 2000)
		n, err := s.c.Read(buf)
		require.NoError(s.t, err)
		require.True(s.t, wire.ChecksumOK(buf[:n]))
		if binary.BigEndian.Uint32(buf[4:]) == s.fence {
			return got
		}
		require.Equal(s.t, pkt[:2], buf[2:4], "ports the other way round")
		require.Equal(s.t, pkt[2:4], buf[:2])
		got = append(got, buf[:n])
	}
}

func (s *stranger) ask(tag uint32, chunks string) [][]byte {
	s.t.Helper()
	return s.answers(packet(sctpPort, s.port, tag, chunks))
}

// show is a packet without ports and checksum.
func show(pkts [][]byte) string {
	var all []string
	for _, p := range pkts {
		all = append(all, hex.EncodeToString(p[4:8])+" "+hex.EncodeToString(p[wire.HeaderLen:]))
	}
	return strings.Join(all, " / ")
}

// initChunk is an INIT with the Initiate Tag aaaaaaaa and good values; params follow, n is its length field.
func initChunk(n, params string) string {
	return "0100" + n + " aaaaaaaa 00010000 000a 000a 00000064 " + params
}

// cookie completes the first half of a handshake.
func (s *stranger) cookie(params string) (tag uint32, cookie []byte, in wire.Init) {
	s.t.Helper()
	n := hex.EncodeToString(binary.BigEndian.AppendUint16(nil, uint16(20+len(strings.ReplaceAll(params, " ", ""))/2)))
	return s.initAck(s.ask(0, initChunk(n, params)))
}

func (s *stranger) initAck(got [][]byte) (tag uint32, cookie []byte, in wire.Init) {
	s.t.Helper()
	require.Len(s.t, got, 1)
	require.EqualValues(s.t, 0xaaaaaaaa, binary.BigEndian.Uint32(got[0][4:]))
	it := wire.Chunks(got[0])
	c, _ := it.Next()
	require.Equal(s.t, wire.TypeInitAck, c.Type)
	require.Zero(s.t, c.Flags)
	_, more := it.Next()
	require.False(s.t, more)
	in, err := wire.ParseInit(c)
	require.NoError(s.t, err)
	var p wire.SetupParams
	require.NoError(s.t, wire.ReadInitParams(in.Params, &p))
	require.NotZero(s.t, in.Tag)
	require.NotZero(s.t, in.OutStreams)
	require.LessOrEqual(s.t, in.OutStreams, uint16(10)) // the INIT's MIS, section 3.3.3
	require.GreaterOrEqual(s.t, in.ARwnd, uint32(1500))
	require.NotEmpty(s.t, p.Cookie)
	return in.Tag, p.Cookie, in
}

// RFC 9260 sections 3.2, 3.3.2, 5.1, 8.5.1 A and 12.3: INITs that are not answered, or answered by an ABORT.
func TestRawInit(t *testing.T) {
	s := newStranger(t)
	good := initChunk("0014", "")
	for _, c := range []struct{ name, want, chunks string }{
		{"zero initiate tag", "", "01000014 00000000 00010000 000a 000a 00000064"},
		{"bundled", "", good + "0b000004"},
		{"bundled behind", "", "0b000004" + good},
		{"shorter than its fixed fields", "", "01000010 aaaaaaaa 00010000 000a 000a"},
		{"longer than the packet", "", "01000024 aaaaaaaa 00010000 000a 000a 00000064"},
		{"chunk length 3", "", "01000003 aaaaaaaa 00010000 000a 000a 00000064"},
		{"no outgoing streams", "aaaaaaaa 06000008 00070004", "01000014 aaaaaaaa 00010000 0000 000a 00000064"},
		{"no incoming streams", "aaaaaaaa 06000008 00070004", "01000014 aaaaaaaa 00010000 000a 0000 00000064"},
		{"window of 1499", "aaaaaaaa 06000008 00070004", "01000014 aaaaaaaa 000005db 000a 000a 00000064"},
		{"parameter of length 0", "aaaaaaaa 0600 000d", initChunk("0018", "80080000")},
		{"parameter of length 3", "aaaaaaaa 0600 000d", initChunk("0018", "80080003")},
		{"parameter longer than the chunk", "aaaaaaaa 0600 000d", initChunk("0018", "80080009")},
		{"IPv4 address of 3 bytes", "aaaaaaaa 0600 000d", initChunk("001c", "00050007 7f000001")},
		{"IPv4 address of 8 bytes", "aaaaaaaa 0600 000d", initChunk("0020", "0005000c 7f000001 7f000002")},
		{"IPv6 address of 4 bytes", "aaaaaaaa 0600 000d", initChunk("001c", "00060008 7f000001")},
		{"preservative of 2 bytes", "aaaaaaaa 0600 000d", initChunk("001c", "00090006 00010000")},
		{"host name", "aaaaaaaa 0600000e 0005000a 000b0006 6100 0000", initChunk("001c", "000b0006 61000000")},
	} {
		got := show(s.ask(0, c.chunks))
		want := strings.ReplaceAll(c.want, " ", "")
		if strings.HasSuffix(c.want, "000d") { // Protocol Violation: the text and so the length are ours
			require.Len(t, strings.Fields(got), 2, c.name)
			require.Equal(t, "aaaaaaaa 0600", got[:13], c.name)
			require.Equal(t, "000d", got[17:21], c.name)
			continue
		}
		require.Equal(t, want, strings.ReplaceAll(got, " ", ""), c.name)
	}
	require.Empty(t, s.ask(0xaaaaaaaa, good), "a tag that is not zero")
	require.Empty(t, s.answers(packet(0, s.port, 0, good)))
	require.Empty(t, s.answers(packet(sctpPort, 0, 0, good)))
	bad := packet(sctpPort, s.port, 0, good)
	bad[11] ^= 1
	require.Empty(t, s.answers(bad), "a wrong checksum")
	require.Equal(t, "aaaaaaaa 06000004", show(s.answers(packet(sctpPort, s.port+1, 0, good))), "nobody listens there")
	for name, c := range map[string]string{
		"flags are ignored":    "01ff0014 aaaaaaaa 00010000 000a 000a 00000064",
		"final padding absent": initChunk("0019", "80080005 84"),
		"padding not zero":     initChunk("001c", "80080005 84ffffff"),
	} {
		t.Log(name)
		s.initAck(s.ask(0, c))
	}
}

// RFC 9260 sections 3.2.1, 3.2.2 and 3.3.2.1: parameters that do not keep an INIT from being answered; those to report come
// back whole, padded behind their own length, and no others.
func TestRawInitParams(t *testing.T) {
	s := newStranger(t)
	for _, c := range []struct{ name, params, reported string }{
		{"four kinds", "bfff0005 01000000 ffff0006 01020000 ffee0004 7ff0000401020304", "ffff00060102 ffee0004 7ff00004"},
		{"stop silently", "3fff0004 ffff0004", ""},
		{"stop and report", "7fff0007 01020300 ffff0004", "7fff0007010203"},
		{"what stands behind is not looked at", "3fff0004 000b0006 61000000 00050003", ""},
		{"unspecified, broadcast, multicast", "00050008 00000000 00050008 ffffffff 00050008 e0000001", ""},
		{"twice, and its own", "00050008 7f000001 00050008 7f000001 00050008 c0000201 00050008 c0000201", ""},
		{"IPv6, mapped, unspecified, multicast", "00060014 20010db8000000000000000000000001 00060014 00000000000000000000ffff7f000001" +
			"00060014 00000000000000000000000000000000 00060014 ff020000000000000000000000000001", ""},
		{"address types: a host name and IPv6 only", "000c0008 000b0006", ""},
		{"preservative", "00090008 ffffffff", ""},
		{"ECN, heartbeat info and a cookie are out of place", "80000004 00010004 00070008 01020304", ""},
		{"forward TSN, extensions, adaptation", "c0000004 80080006 c0820000 c0060008 00000007", ""},
	} {
		got := s.ask(0, initOf(c.params))
		_, _, in := s.initAck(got)
		var p wire.SetupParams
		require.NoError(t, wire.ReadInitParams(in.Params, &p))
		var reported []string
		it := wire.Params(in.Params)
		for q, ok := it.Next(); ok; q, ok = it.Next() {
			if q.Type == wire.ParamUnrecognized {
				reported = append(reported, hex.EncodeToString(q.Value))
			}
		}
		require.NoError(t, it.Err())
		require.Equal(t, c.reported, strings.Join(reported, " "), c.name)
	}
}

func initOf(params string) string {
	n := 20 + len(strings.ReplaceAll(params, " ", ""))/2
	return initChunk(hex.EncodeToString([]byte{byte(n >> 8), byte(n)}), params)
}

// echo is a COOKIE ECHO.
func echo(cookie []byte) string {
	n := 4 + len(cookie)
	return "0a00" + hex.EncodeToString([]byte{byte(n >> 8), byte(n)}) + hex.EncodeToString(cookie) + strings.Repeat("00", -n&3)
}

// RFC 9260 sections 4, 5.1.3 and 5.1.5: a cookie that was changed in any bit, cut, lengthened, sent with another tag or with
// other ports is dropped silently. The right one is good afterwards, and the DATA behind it is acknowledged at once.
func TestRawCookie(t *testing.T) {
	s := newStranger(t)
	tag, cookie, _ := s.cookie("")
	for i := range cookie {
		bad := append([]byte(nil), cookie...)
		bad[i] ^= 1 << (i % 8)
		require.Empty(t, s.ask(tag, echo(bad)), "byte %d", i)
	}
	for n := range cookie {
		require.Empty(t, s.ask(tag, echo(cookie[:n])), "%d bytes", n)
	}
	require.Empty(t, s.ask(tag, echo(append(append([]byte(nil), cookie...), 0))))
	require.Empty(t, s.ask(tag+1, echo(cookie)))
	require.Empty(t, s.ask(0, echo(cookie)))
	require.Empty(t, s.answers(packet(sctpPort+2, s.port, tag, echo(cookie))))
	require.Empty(t, s.answers(packet(sctpPort, s.port+2, tag, echo(cookie))))
	require.Empty(t, s.ask(tag, "0b000004"+echo(cookie)), "not the first chunk")

	_, err := s.c.Write(packet(sctpPort, s.port, tag, echo(cookie)+"00030014 00000064 0000 0000 00000000 61626364"))
	require.NoError(t, err)
	r := &raw{t: t, c: s.c, port: s.port, tag: tag, tsn: 100}
	r.expect(wire.TypeCookieAck)
	r.acked(0)
	r.b, err = s.l.AcceptAssociation(context.Background())
	require.NoError(t, err)
	got, _ := r.read()
	require.Equal(t, "abcd", got)
	require.EqualValues(t, 10, r.b.Peer().OutStreams)
	require.NoError(t, r.b.Abort("the test is over"))
}

// RFC 9260 section 8.4: what is answered out of the blue, and how.
func TestRawOutOfTheBlue(t *testing.T) {
	s := newStranger(t)
	const abort, complete = "00001234 06010004", "00001234 0e010004"
	for _, c := range []struct{ name, want, chunks string }{
		{"DATA", abort, "00030014 00000064 0000 0000 00000000 61626364"},
		{"INIT ACK", abort, "02000014 aaaaaaaa 00010000 000a 000a 00000064"},
		{"SACK", abort, "03000010 00000001 00010000 0000 0000"},
		{"HEARTBEAT", abort, "04000008 00010004"},
		{"HEARTBEAT ACK", abort, "05000008 00010004"},
		{"ABORT", "", "06000004"},
		{"ABORT with the T bit", "", "06010004"},
		{"SHUTDOWN", abort, "07000008 00000001"},
		{"SHUTDOWN ACK", complete, "08000004"},
		{"ERROR", abort, "0900000c 00010008 00010000"},
		{"ERROR, stale cookie", "", "0900000c 00030008 00000000"},
		{"COOKIE ACK", "", "0b000004"},
		{"SHUTDOWN COMPLETE", "", "0e000004"},
		{"SHUTDOWN COMPLETE with the T bit", "", "0e010004"},
		{"an unknown chunk that stops", abort, "3f000004"},
		{"an unknown chunk", abort, "ff000004"},
		{"an ABORT behind an unknown chunk", "", "3f000004 06000004"},
		{"a SHUTDOWN ACK behind DATA", complete, "00030014 00000064 0000 0000 00000000 61626364 08000004"},
		{"a COOKIE ECHO that is not the first chunk", abort, "05000008 00010004 0a000008 01020304"},
		{"an INIT behind another chunk", "", "05000008 00010004 " + initChunk("0014", "")},
		{"an ABORT behind a SHUTDOWN ACK", "", "08000004 06000004"},
	} {
		require.Equal(t, c.want, show(s.ask(0x1234, c.chunks)), c.name)
		require.Empty(t, s.ask(0, c.chunks), "%s with tag 0", c.name)
	}
}
