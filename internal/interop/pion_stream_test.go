package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/sctp"
	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// Streams end in both directions by stream reset (RFC 6525), whoever ends first, and their numbers begin anew.
func TestPionStreamEnds(t *testing.T) {
	bothRoles(t, func(t *testing.T, pair func() *pionPair) {
		p := pair()
		require.True(t, p.ours.Peer().StreamReset)
		for round := range 6 {
			s, err := p.ours.OpenStream()
			require.NoError(t, err)
			_, err = fmt.Fprintf(s, "round %d", round)
			require.NoError(t, err)
			b, err := p.pion.AcceptStream()
			require.NoError(t, err)
			require.Equal(t, s.ID(), b.StreamIdentifier())
			buf := make([]byte, 100)
			n, err := b.Read(buf)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("round %d", round), string(buf[:n]))
			_, err = b.Write([]byte("answer"))
			require.NoError(t, err)
			_, err = io.ReadFull(s, buf[:6])
			require.NoError(t, err)
			freed := p.ours.Subscribe(transport.EventStreamsFreed)
			if round%2 == 0 {
				require.NoError(t, s.CloseWrite())
				_, err = b.Read(buf)
				require.Equal(t, io.EOF, err)
				require.NoError(t, b.Close())
			} else {
				require.NoError(t, b.Close())
				_, err = s.Read(buf)
				require.Equal(t, io.EOF, err)
				require.NoError(t, s.CloseWrite())
				_, err = b.Read(buf)
				require.Equal(t, io.EOF, err)
			}
			_, err = s.Read(buf)
			require.Equal(t, io.EOF, err)
			select {
			case <-freed:
			case <-within(t).Done():
				t.Fatal("our end is not known there")
			}
			require.NoError(t, s.Close())
		}
	})
}

// Partial reliability (RFC 3758) in both directions over a link that loses nothing: what is given up before it was sent is
// passed over by the peer, the rest arrives.
func TestPionPartialReliability(t *testing.T) {
	bothRoles(t, func(t *testing.T, pair func() *pionPair) {
		p := pair()
		require.True(t, p.ours.Peer().PartialReliability)
		s, err := p.ours.OpenStream()
		require.NoError(t, err)
		const n = 2000
		go func() {
			for i := range n {
				o := &transport.MessageOptions{Unordered: i%3 == 0}
				if i%2 == 1 {
					o.Lifetime = time.Microsecond
				}
				if i%5 == 0 {
					o.Resends = transport.NeverResend
				}
				if i == 0 || i == n-1 {
					o = nil
				}
				if s.WriteMessage(fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 1000)), o) != nil {
					return
				}
			}
		}()
		b, err := p.pion.AcceptStream()
		require.NoError(t, err)
		buf := make([]byte, 2000)
		got := 0
		for last := -1; last < n-1; got++ {
			k, _, err := b.ReadSCTP(buf)
			require.NoError(t, err)
			number, rest, _ := strings.Cut(string(buf[:k]), " ")
			i, err := strconv.Atoi(number)
			require.NoError(t, err)
			require.Len(t, rest, 1000)
			if i%3 != 0 || i == 0 || i == n-1 {
				require.Greater(t, i, last)
				last = i
			}
		}
		require.GreaterOrEqual(t, got, n/2*2/3, "reliable and ordered ones are all there")

		b.SetReliabilityParams(true, sctp.ReliabilityTypeRexmit, 0)
		go func() {
			for i := range n {
				if i == n-1 {
					b.SetReliabilityParams(false, sctp.ReliabilityTypeReliable, 0)
				}
				if _, err := b.WriteSCTP(fmt.Appendf(nil, "%d", i), 53); err != nil {
					return
				}
			}
		}()
		for {
			k, info, err := s.ReadMessage(buf)
			require.NoError(t, err)
			require.EqualValues(t, 53, info.PPID)
			if string(buf[:k]) == fmt.Sprint(n-1) {
				require.False(t, info.Unordered)
				break
			}
			require.True(t, info.Unordered)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, p.ours.Flush(ctx))
	})
}

// TestPionIgnores: pion/sctp announces stream re-configuration and knows no request of it but the outgoing reset. What it
// does not answer must not keep ends of streams from it.
func TestPionIgnores(t *testing.T) {
	bothRoles(t, func(t *testing.T, pair func() *pionPair) {
		p := pair()
		open := func(text string) (*transport.Stream, *pionStream) {
			s, err := p.ours.OpenStream()
			require.NoError(t, err)
			_, err = io.WriteString(s, text)
			require.NoError(t, err)
			b, err := p.pion.AcceptStream()
			require.NoError(t, err)
			require.Equal(t, s.ID(), b.StreamIdentifier())
			require.NoError(t, b.SetReadDeadline(time.Now().Add(patience)))
			peer := &pionStream{Stream: b}
			got := make([]byte, len(text))
			_, err = io.ReadFull(peer, got)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			return s, peer
		}
		first, _ := open("one")
		require.NoError(t, first.CloseRead())
		second, peer := open("two")
		require.NoError(t, second.CloseWrite())
		busy, echo := open("three") // while something is answered, a request that is not is noticed sooner
		ended := make(chan error, 1)
		go func() {
			_, err := peer.Read(make([]byte, 1))
			ended <- err
		}()
		for waiting := true; waiting; {
			require.NoError(t, duplex(busy, echo, 0, 1000))
			select {
			case err := <-ended:
				require.ErrorIs(t, err, io.EOF)
				waiting = false
			case <-time.After(20 * time.Millisecond):
			}
		}
		_, err := peer.Stream.Write([]byte("the other way"))
		require.NoError(t, err)
		got := make([]byte, 13)
		require.NoError(t, second.SetReadDeadline(time.Now().Add(patience)))
		_, err = io.ReadFull(second, got)
		require.NoError(t, err)
		require.Equal(t, "the other way", string(got))
		third, _ := open("four")
		require.ErrorIs(t, third.CloseRead(), errors.ErrUnsupported, "by now it is known")
		require.NoError(t, p.ours.Close())
	})
}
