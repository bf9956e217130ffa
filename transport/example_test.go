package transport_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/go-multihome/multihome/transport"
)

func ExampleListen() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()

	c, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "hello")
	buf := make([]byte, 5)
	io.ReadFull(c, buf)
	fmt.Println(string(buf), c.Close())
	// Output: hello <nil>
}

func ExampleDial() {
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
		s, err := a.AcceptStream(context.Background())
		if err != nil {
			return
		}
		fmt.Fprintf(s, "this is stream %d", s.ID())
		a.Shutdown(context.Background())
		a.Close()
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := transport.Dial(ctx, l.Addr().String(), &transport.Config{Linger: time.Second})
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
	fmt.Fprint(s, "who are you?")
	text, err := io.ReadAll(s)
	fmt.Printf("%s, %v\n", text, err)
	// Output: this is stream 2, <nil>
}

// HTTP over SCTP: a server whose listener, and a client whose dialler, are ours.
func ExampleDialer_DialContext() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s over %s", r.URL.Path, r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network())
	})}
	go srv.Serve(l)
	defer srv.Close()

	d := &transport.Dialer{Timeout: 10 * time.Second}
	client := &http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + l.Addr().String() + "/path")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(string(body))
	// Output: /path over sctp
}
