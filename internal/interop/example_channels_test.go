package interop

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// The program rtcweb speaks an early form of the protocol that opens WebRTC's data channels, in messages with an identifier
// of their own on the channel's stream. A request has type, kind of channel, flags, a limit, and a priority, an answer to it
// type, error, flags, and the stream of the request.
const (
	channelControl = 50
	channelText    = 51

	channelRequest  = 0
	channelResponse = 1
	channelAck      = 2
)

// TestExampleDataChannels opens, uses and closes data channels: streams that end by reset, in both directions.
func TestExampleDataChannels(t *testing.T) {
	t.Run("it opens", func(t *testing.T) {
		bothWays(t, wire.TypeReconfig)
		l, udp := listenExample(t, 5001, transport.Config{})
		p := example(t, "rtcweb", freePort(t), udp, "127.0.0.1", 5001)
		a := accept(t, l)
		p.await("Connected to")
		for round := range 3 {
			p.say("open 0 0 0")
			p.await(fmt.Sprintf("Channel with id %d created", 0))
			s, err := a.AcceptStream(within(t))
			require.NoError(t, err)
			c := &channel{t, s, s}
			req := c.get(channelControl)
			require.EqualValues(t, channelRequest, req[0])
			c.put(channelControl, []byte{channelResponse, 0, 0, 0, byte(s.ID() >> 8), byte(s.ID())})
			require.Equal(t, []byte{channelAck}, c.get(channelControl))
			c.talk(p, round)
			p.say("close 0")
			ends(t, s)
			require.NoError(t, s.Close())
			p.await("Stream reset event: flags = 1")
		}
		p.say("quit")
		_, err := a.AcceptStream(within(t))
		require.Error(t, err)
		require.NoError(t, a.Close())
	})
	t.Run("we open", func(t *testing.T) {
		bothWays(t, wire.TypeReconfig)
		udp, ours := freePort(t), freePort(t)
		p := example(t, "rtcweb", udp, ours, 5001)
		a := dialExample(t, udp, 5001, transport.Config{LocalUDPPort: uint16(ours)})
		// Until it takes orders, a moment after it says that it is connected, it has nothing to answer a request on.
		p.await("Connected to")
		p.say("help")
		p.await("Commands:")
		for round := range 3 {
			s, err := a.OpenStream()
			require.NoError(t, err)
			c := &channel{t, s, nil}
			c.put(channelControl, []byte{channelRequest, 0, 0, 0, 0, 0, 0, 0})
			answered, err := a.AcceptStream(within(t))
			require.NoError(t, err)
			require.Equal(t, []byte{channelResponse, 0, 0, 0, byte(s.ID() >> 8), byte(s.ID())}, (&channel{t, nil, answered}).get(channelControl))
			c.put(channelControl, []byte{channelAck})
			c.back = answered
			c.talk(p, round)
			require.NoError(t, s.CloseWrite())
			p.await("Stream reset event: flags = 1")
			ends(t, answered) // it closes the channel then, too
			require.NoError(t, answered.Close())
			require.NoError(t, s.Close())
		}
		require.NoError(t, a.Close())
	})
}

// channel is a pair of streams, or one, that carry messages with identifiers.
type channel struct {
	t        testing.TB
	to, back *transport.Stream
}

func (c *channel) put(ppid uint32, msg []byte) {
	c.t.Helper()
	require.NoError(c.t, c.to.WriteMessage(msg, &transport.MessageOptions{PPID: ppid}))
}

func (c *channel) get(ppid uint32) []byte {
	c.t.Helper()
	buf := make([]byte, 2000)
	require.NoError(c.t, c.back.SetReadDeadline(time.Now().Add(patience)))
	n, info, err := c.back.ReadMessage(buf)
	require.NoError(c.t, err)
	require.Equal(c.t, ppid, info.PPID)
	return buf[:n]
}

// talk has a line go each way.
func (c *channel) talk(p *child, round int) {
	c.t.Helper()
	p.say("send 0:from there %d", round)
	p.await("Message sent")
	require.Equal(c.t, fmt.Sprintf("from there %d", round), string(c.get(channelText)))
	line := fmt.Sprintf("from here %d", round)
	c.put(channelText, []byte(line))
	p.await(fmt.Sprintf("Message received of length %d on channel with id 0: %s", len(line), line))
}
