package capture_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-multihome/multihome/capture"
	"github.com/go-multihome/multihome/transport"
)

// A capture that may stay on: the newest 80 MB, without the user's data.
func ExampleRotate() {
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	c, err := capture.Rotate(filepath.Join(dir, "link.pcapng"), &capture.Options{FileSize: 10 << 20, Files: 8, Snap: 64})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := &transport.Config{Capture: c}
	l, err := transport.Listen("127.0.0.1:0", cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := transport.Dial(context.Background(), l.Addr().String(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	a.Close()
	l.Close()
	fmt.Println(c.Close(), c.Stats().Packets > 0)
	// Output: <nil> true
}
