package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/transport"
)

// Messages keep their bounds, their payload protocol identifier, and say whether they may pass each other.
func ExampleStream_WriteMessage() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		if err != nil {
			return
		}
		defer a.Close()
		s, err := a.OpenStream()
		if err != nil {
			return
		}
		s.WriteMessage([]byte("in order"), &transport.MessageOptions{PPID: 46})
		s.WriteMessage([]byte("useless in half a second"), &transport.MessageOptions{Lifetime: 500 * time.Millisecond})
		s.WriteMessage([]byte("as soon as it is here"), &transport.MessageOptions{Unordered: true})
		io.Copy(io.Discard, s)
	}()

	a, err := l.AcceptAssociation(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	s, err := a.AcceptStream(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	buf := make([]byte, 1500)
	for range 3 {
		n, info, err := s.ReadMessage(buf)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%q, PPID %d, unordered %t\n", buf[:n], info.PPID, info.Unordered)
	}
	s.Close()
	// Output:
	// "in order", PPID 46, unordered false
	// "useless in half a second", PPID 0, unordered false
	// "as soon as it is here", PPID 0, unordered true
}

// A message of any size is read without losing a byte, whatever memory the reader brings.
func ExampleStream_ReadMessage() {
	next := func(s *transport.Stream) ([]byte, error) {
		var whole []byte
		piece := make([]byte, 16<<10)
		for {
			n, info, err := s.ReadMessage(piece)
			whole = append(whole, piece[:n]...)
			if err != nil || !info.More {
				return whole, err
			}
			if len(whole) > 1<<20 {
				return nil, errors.New("a message larger than this protocol knows")
			}
		}
	}

	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		if err != nil {
			return
		}
		s, err := a.OpenStream()
		if err != nil {
			return
		}
		s.WriteMessage(make([]byte, 100_000), nil)
		s.WriteMessage([]byte("small"), nil)
		a.Close()
	}()
	a, err := l.AcceptAssociation(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	s, err := a.AcceptStream(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		m, err := next(s)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(m), "bytes")
	}
	// Output:
	// 100000 bytes
	// 5 bytes
	// EOF
}

// A stream is ended by its writer and goes on in the other direction, as with TCP.
func ExampleStream_CloseWrite() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		a, err := l.AcceptAssociation(context.Background())
		if err != nil {
			return
		}
		for {
			s, err := a.AcceptStream(context.Background())
			if err != nil {
				a.Close()
				return
			}
			go func() {
				defer s.Close()
				question, _ := io.ReadAll(s) // to its end
				fmt.Fprintf(s, "%d letters", len(question))
			}()
		}
	}()

	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	s, err := a.OpenStream()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(s, "how ")
	fmt.Fprint(s, "long?")
	s.CloseWrite()
	answer, err := io.ReadAll(s)
	fmt.Println(string(answer), err)
	s.Close() // both sides have ended: the number may be used again
	// Output: 9 letters <nil>
}

// Records that must not be late travel over two paths at once; the rest of the program's data over one.
func ExampleStream_SetPolicy() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		if err != nil {
			return
		}
		defer a.Close()
		s, err := a.OpenStream()
		if err != nil {
			return
		}
		s.SetPolicy(transport.Redundant)
		fmt.Fprint(s, "valve 7 shut")
		a.Flush(context.Background())
		io.Copy(io.Discard, s)
	}()
	a, err := l.AcceptAssociation(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	s, err := a.AcceptStream(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	buf := make([]byte, 100)
	n, _ := s.Read(buf)
	fmt.Println(string(buf[:n]))
	s.Close()
	// Output: valve 7 shut
}

// A program written for the sockets of RFC 6458 reads all streams in one loop and picks the numbers of its streams.
func ExampleAssociation_ReadMessage() {
	l, err := transport.Listen("127.0.0.1:0", &transport.Config{AllStreams: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		if err != nil {
			return
		}
		for _, id := range []uint16{5, 0, 300} {
			s, err := a.Stream(id)
			if err != nil {
				return
			}
			s.WriteMessage(fmt.Appendf(nil, "to stream %d", id), nil)
			a.Flush(context.Background())
		}
		a.Close()
	}()
	a, err := l.AcceptAssociation(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	buf := make([]byte, 1500)
	for {
		n, info, err := a.ReadMessage(buf)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("stream %d: %s\n", info.Stream, buf[:n])
	}
	// Output:
	// stream 5: to stream 5
	// stream 0: to stream 0
	// stream 300: to stream 300
	// EOF
}

// What of the tuning can be changed while an association lives, and how its paths are watched.
func ExampleAssociation_SetParameters() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()

	err = a.SetParameters(transport.Parameters{RTOMin: time.Second, SackEvery: 1}) // the others stay
	p := a.Parameters()
	fmt.Println(err, p.RTOMin, p.RTOMax, p.SackEvery)

	quiet := heartbeat.DefaultConfig()
	quiet.Disabled = true
	fmt.Println(a.SetHeartbeat(quiet)) // on all paths
	fmt.Println(a.Heartbeat(0))        // but now, once, on this one

	err = a.SetPathMTU(transport.PathMTU{Payload: 1000, MaxPayload: -1}, 0)
	fmt.Println(err, a.Paths()[0].Payload, a.Paths()[0].MaxPayload) // no search for more
	// Output:
	// <nil> 1s 30s 1
	// <nil>
	// <nil>
	// <nil> 1000 1000
}

// Events of chosen kinds, on a channel of their own.
func ExampleAssociation_Subscribe() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ends := a.Subscribe(transport.EventUp, transport.EventClosed)
	a.Close()
	for ev := range ends {
		fmt.Println(ev)
	}
	// Output:
	// up
	// closed
}

// Messages that were not delivered come back, with their bytes.
func ExampleAssociation_Undelivered() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	a, err := transport.Dial(context.Background(), l.Addr().String(), &transport.Config{KeepUndelivered: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := a.OpenStream()
	if err != nil {
		fmt.Println(err)
		return
	}
	s.WriteMessage(make([]byte, 1<<20), &transport.MessageOptions{Context: 1}) // nobody reads there
	s.WriteMessage([]byte("and then?"), &transport.MessageOptions{Context: 2})
	a.Abort("out of patience")
	for _, m := range a.Undelivered() {
		if m.Context == 2 {
			fmt.Printf("message %d: %q\n", m.Context, m.Data)
		}
	}
	// Output: message 2: "and then?"
}

// Streams of different importance: what the first have to say goes before anything else.
func ExampleScheduler() {
	cfg := &transport.Config{
		Scheduler:    transport.ByPriority,
		Interleaving: true, // so that a large message under way is passed as well
	}
	l, err := transport.Listen("127.0.0.1:0", cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	a, err := transport.Dial(context.Background(), l.Addr().String(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	alarms, _ := a.Stream(1) // 0, the highest priority, unless set otherwise
	logs, _ := a.Stream(2)
	fmt.Println(logs.SetSchedulerValue(10))
	fmt.Println(alarms.SchedulerValue(), logs.SchedulerValue(), a.Parameters().Scheduler)
	// Output:
	// <nil>
	// 0 10 priority
}

// Where the send buffer is full the less important messages give way to the others, instead of making them wait.
func ExampleMessageOptions_priority() {
	l, err := transport.Listen("127.0.0.1:0", &transport.Config{ReceiveWindow: 8 << 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	a, err := transport.Dial(context.Background(), l.Addr().String(), &transport.Config{SendBuffer: 64 << 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Abort("done")
	for range 100 { // nobody reads there
		a.WriteMessage(make([]byte, 1000), &transport.MessageOptions{Priority: 5})
		if a.Stats().SendBuffered > 64<<10 {
			break
		}
	}
	for range 40 {
		if err := a.WriteMessage(make([]byte, 1000), nil); err != nil { // reliable, and does not wait
			fmt.Println(err)
		}
	}
	fmt.Println(a.Stats().GivenUp.Priority.Unsent > 0)
	// Output: true
}

// Messages that would not fit one packet are refused.
func ExampleFragmentation() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	cfg := &transport.Config{
		Fragmentation: transport.RefuseMessages,
		MaxPayload:    -1, // no search for larger packets, with which the limit would grow
	}
	a, err := transport.Dial(context.Background(), l.Addr().String(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	err = a.WriteMessage(make([]byte, 10_000), nil)
	fmt.Println(errors.Is(err, transport.ErrMessageSize), a.Stats().FragmentSize)
	// Output: true 1172
}
