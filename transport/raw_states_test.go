package transport_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// member is a stranger that made an association.
type member struct {
	*stranger
	tag    uint32 // to send with
	cookie []byte
	b      *transport.Association
}

func newMember(t *testing.T) *member {
	m := &member{stranger: newStranger(t)}
	m.tag, m.cookie, _ = m.stranger.cookie("")
	_, err := m.c.Write(packet(sctpPort, m.port, m.tag, echo(m.cookie)))
	require.NoError(t, err)
	(&raw{t: t, c: m.c}).expect(wire.TypeCookieAck)
	m.b, err = m.l.AcceptAssociation(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.b.Abort("the test is over") })
	return m
}

// say sends a packet with a tag and returns the answers, in order: of the association and of the endpoint. Both are asked
// something more, so that the absence of an answer is known; twice, because a cookie is opened on another way than what the
// association takes itself.
func (m *member) say(tag uint32, chunks string) string {
	m.t.Helper()
	_, err := m.c.Write(packet(sctpPort, m.port, tag, chunks))
	require.NoError(m.t, err)
	return strings.Join(append(m.ping(), m.ping()...), " / ")
}

// ping asks association and endpoint, and returns what came before their answers.
func (m *member) ping() (got []string) {
	m.t.Helper()
	m.fence++
	mark := fmt.Sprintf("04000010 0001000c fe%06x 0badcafe", m.fence&0xffffff)
	ack := strings.ReplaceAll("05"+mark[2:], " ", "")
	for _, p := range [][]byte{packet(sctpPort, m.port, m.tag, mark), packet(sctpPort+1, m.port, m.fence, "04000008 00010004")} {
		_, err := m.c.Write(p)
		require.NoError(m.t, err)
	}
	require.NoError(m.t, m.c.SetReadDeadline(time.Now().Add(10*time.Second)))
	for left := 2; left > 0; {
		buf := make([]byte, 2000)
		n, err := m.c.Read(buf)
		require.NoError(m.t, err)
		if binary.BigEndian.Uint32(buf[4:]) == m.fence {
			left--
			continue
		}
		it := wire.Chunks(buf[:n])
		for c, ok := it.Next(); ok; c, ok = it.Next() {
			if h := hex.EncodeToString(c.Raw); h == ack {
				left--
			} else if c.Type != wire.TypeHeartbeat {
				got = append(got, fmt.Sprintf("%08x %s", binary.BigEndian.Uint32(buf[4:]), h))
			}
		}
	}
	return got
}

// RFC 9260 sections 3, 5.2 and 8.5: chunks that change nothing in ESTABLISHED, because they are malformed, out of their
// state, or come with a wrong tag; and what little is answered.
func TestRawEstablished(t *testing.T) {
	m := newMember(t)
	const tag = "aaaaaaaa "
	for _, c := range []struct{ name, want, chunks string }{
		{"nothing but a header", "", ""},
		{"half a chunk header", "", "0400"},
		{"chunk length 0", "", "04000000 00010004"},
		{"chunk length 3", "", "04000003 00010004"},
		{"a chunk longer than the packet", "", "0400000c 00010004"},
		{"a good chunk, then half of one", tag + "0500000801010004", "04000008 01010004 0400000c 00010004"},
		{"final padding absent", tag + "0500000a000100060102", "0400000a 00010006 0102"},
		{"padding not zero", tag + "0500000a000100060102", "0400000a 00010006 0102ffff"},
		{"INIT ACK", "", "02000020 bbbbbbbb 00010000 000a 000a 00000064 0007000c 0102030405060708"},
		{"INIT ACK behind another chunk", "", "0b000004 02000014 bbbbbbbb 00010000 000a 000a 00000064 06000004"},
		{"INIT behind another chunk", "", "0b000004 01000014 bbbbbbbb 00010000 000a 000a 00000064 06000004"},
		{"COOKIE ACK", "", "0b000004"},
		{"COOKIE ECHO behind another chunk", "", "0b000004" + echo(m.cookie)},
		{"stale cookie", "", "0900000c 00030008 00000000"},
		{"SHUTDOWN ACK", "", "08000004"},
		{"SHUTDOWN COMPLETE", "", "0e000004"},
		{"SHUTDOWN COMPLETE with the T bit", "", "0e010004"},
		{"SHUTDOWN without a TSN", "", "07000004"},
		{"SACK without its fields", "", "03000008 00000063"},
		{"SACK with more blocks than it has", "", "03000010 00000063 00010000 ffff 0000"},
		{"ABORT with the T bit and our tag", "", "06010004"},
		{"ABORT with a cause of length 3", "", "06000008 000c0003"},
		{"ABORT longer than the packet", "", "0600000c 000c0008"},
		{"DATA without its fields", "", "0003000c 00000064 0000 0000"},
		{"HEARTBEAT ACK of nothing", "", "05000010 0001000c 0102030405060708"},
		{"ERROR with a bad cause", "", "09000008 00010003"},
		{"CWR and ECNE are unknown", "", "0d000008 00000000 06000004"},
		{"AUTH is unknown here", "", "0f000010 00000001 0102030405060708 06000004"},
		{"ASCONF is unknown here", tag + "0900001400060010" + "c100000c0000000100050008", "c100000c 00000001 00050008"},
		{"ASCONF-ACK is unknown here", "", "80000008 00000001"},
		{"I-DATA was not negotiated", tag + "0900001c00060018" + "4003001400000064000000000000000000000000", "40030014 00000064 00000000 00000000 00000000 06000004"},
		{"unknown, odd length", tag + "0900000e0006000aff070006" + "0102", "ff070006 01020000"},
	} {
		require.Equal(t, c.want, m.say(m.tag, c.chunks), c.name)
	}
	for _, chunks := range []string{"06000004", "06010004", "07000008 00000063", "08000004", "0e000004", "00030014 00000064 0000 0000 00000000 61626364",
		"04000008 00010004", "ff000004", "0b000004"} {
		require.Empty(t, m.say(m.tag+1, chunks), "a wrong tag: %s", chunks)
		require.Empty(t, m.say(0, chunks), "tag 0: %s", chunks)
	}
	require.NoError(t, m.b.Err())
	got := m.say(m.tag, "00030014 00000064 0000 0000 00000000 61626364")
	require.True(t, strings.HasPrefix(got, "aaaaaaaa 0300001000000064"), "the first DATA is acknowledged at once, but: %s", got)
	events := m.b.Subscribe(transport.EventClosed)
	_, err := m.c.Write(packet(sctpPort, m.port, 0xaaaaaaaa, "06010004")) // the T bit with the tag it sends with
	require.NoError(t, err)
	<-events
	var end *transport.AssociationError
	require.ErrorAs(t, m.b.Err(), &end)
	require.Equal(t, transport.EndAborted, end.Kind)
}

// RFC 9260 sections 5.2.2 and 5.2.4: INITs and cookies for an association that is there: actions C and D, and A.
func TestRawRestart(t *testing.T) {
	m := newMember(t)
	events := m.b.Subscribe(transport.EventRestarted, transport.EventClosed)
	require.Equal(t, "aaaaaaaa 0b000004", m.say(m.tag, echo(m.cookie)), "D: both tags fit")

	// An INIT that adds an address is refused with the tag it brings, and the address comes back.
	got := m.say(0, "0100001c cccccccc 00010000 000a 000a 00000064 00050008 7f0a0b0c")
	require.Equal(t, "cccccccc 06000010000b000c000500087f0a0b0c", got)

	// Without one it is answered with a new tag, and nothing changes; C: the same peer's tag with another one of ours.
	tagC, cookieC := m.again("aaaaaaaa")
	require.NotEqual(t, m.tag, tagC)
	require.Empty(t, m.say(tagC, echo(cookieC)), "C")
	select {
	case ev := <-events:
		t.Fatalf("%v", ev)
	default:
	}

	// A: a new tag of the peer's.
	tagA, cookieA := m.again("cccccccc")
	require.NotEqual(t, m.tag, tagA)
	old := m.tag
	_, err := m.c.Write(packet(sctpPort, m.port, tagA, echo(cookieA)))
	require.NoError(t, err)
	(&raw{t: t, c: m.c}).expect(wire.TypeCookieAck)
	require.Equal(t, transport.EventRestarted, (<-events).Kind)
	m.tag = tagA
	require.Empty(t, m.say(old, "06000004"), "the old tag is not known any more")
	require.Equal(t, "cccccccc 0b000004", m.say(tagA, echo(cookieA)), "D again")
	require.Empty(t, m.say(old, echo(m.cookie)), "the cookie of the association before")
	var end *transport.AssociationError
	require.ErrorAs(t, m.b.Err(), &end)
	require.Equal(t, transport.EndRestart, end.Kind)
	b, err := m.l.AcceptAssociation(context.Background()) // the peer's new one
	require.NoError(t, err)
	require.NoError(t, b.Abort("the test is over"))
}

// again sends an INIT with the tag and returns what the INIT ACK says.
func (m *member) again(tag string) (uint32, []byte) {
	m.t.Helper()
	got := m.say(0, "01000014 "+tag+" 00010000 000a 000a 00000064")
	require.Equal(m.t, tag+" 0200", got[:13])
	b, err := hex.DecodeString(got[9:])
	require.NoError(m.t, err)
	in, err := wire.ParseInit(wire.Chunk{Type: wire.TypeInitAck, Value: b[4:]})
	require.NoError(m.t, err)
	var p wire.SetupParams
	require.NoError(m.t, wire.ReadInitParams(in.Params, &p))
	return in.Tag, p.Cookie
}
