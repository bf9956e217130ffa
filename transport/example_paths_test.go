package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/transport"
)

// What an association says about its paths. Here there is one, since both ends have a single address.
func ExampleAssociation_Paths() {
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
	for _, p := range a.Paths() {
		fmt.Printf("path %d: from %v, %v, current %t, primary %t\n", p.Path.ID, p.Path.Local.Addr, p.State, p.Current, p.Primary)
	}
	// Output: path 0: from 127.0.0.1, Active, current true, primary true
}

// Somebody who wants to know when data moves to another path, and why.
func ExampleAssociation_Events() {
	watch := func(a *transport.Association) {
		for ev := range a.Events() { // closed behind EventClosed
			switch ev.Kind {
			case transport.EventPathState:
				if ev.To == heartbeat.PotentiallyFailed {
					fmt.Println("suspected:", ev.Path, ev.Reason)
				}
			case transport.EventPathChosen:
				fmt.Println("data moved from", ev.Previous, "to", ev.Path, ev.Reason)
			case transport.EventClosed:
				fmt.Println("over:", ev.Err)
			}
		}
	}

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
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(a)
	}()
	a.Close()
	<-done
	// Output: over: <nil>
}

// Streams do not wait for each other, and each is a net.Conn.
func ExampleAssociation_OpenStream() {
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
		defer a.Close()
		for {
			s, err := a.AcceptStream(context.Background()) // io.EOF once the peer has ended the association
			if err != nil {
				return
			}
			go io.Copy(s, s)
		}
	}()

	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	var streams []*transport.Stream
	for range 3 {
		s, err := a.OpenStream()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Fprintf(s, "stream %d", s.ID())
		streams = append(streams, s)
	}
	for _, s := range streams {
		buf := make([]byte, 8)
		io.ReadFull(s, buf)
		fmt.Println(string(buf))
	}
	// Output:
	// stream 2
	// stream 4
	// stream 6
}

// An association that ends otherwise than in order says why, and how much may not have arrived.
func ExampleAssociationError() {
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
		a.Read(make([]byte, 100))
		a.Abort("out of paper")
	}()

	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	fmt.Fprint(a, "print this")
	_, err = a.Read(make([]byte, 1))
	var lost *transport.AssociationError
	if errors.As(err, &lost) {
		fmt.Println(lost.Kind, len(lost.Paths), errors.Is(err, syscall.ECONNRESET))
	}
	// Output: aborted by peer 1 true
}

// The end of an association under a context, reading on until the peer has ended, too.
func ExampleAssociation_Shutdown() {
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
		fmt.Fprint(a, "the last words")
		io.Copy(io.Discard, a)
		a.Close()
	}()

	a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	buf := make([]byte, 14)
	io.ReadFull(a, buf)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(a.Shutdown(ctx))
	_, err = a.Read(make([]byte, 1))
	fmt.Println(string(buf), err)
	// Output:
	// <nil>
	// the last words EOF
}

// Deadlines are those of package net.
func ExampleAssociation_SetReadDeadline() {
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
	a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = a.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

// The zero value of a field means its default, and Check tells what is wrong with the others.
func ExampleConfig() {
	cfg := &transport.Config{
		Local:     "10.0.0.2,10.0.1.2", // dial from these two
		SackDelay: 10 * time.Millisecond,
		Linger:    2 * time.Second,
	}
	fmt.Println(cfg.Check())

	strict := transport.RFC9260() // the values of the RFC alone
	fmt.Println(strict.RTOMin, strict.NoProbeTimeout, strict.Check())

	cfg.SackDelay = time.Minute
	fmt.Println(errors.Is(cfg.Check(), transport.ErrConfig))
	// Output:
	// <nil>
	// 1s true <nil>
	// true
}
