package field

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// childVariable tells this program that it is a helper of its own test. It holds the order as JSON.
const childVariable = "MULTIHOME_FIELD_CHILD"

// order is what a child process has to do: dial or listen, do its part, close, and exit at once.
type order struct {
	Local  string // to dial from, or to listen on if there is no Remote
	Remote string // to dial
	Send   int64  // bytes to write
	Talk   int    // records to exchange in both directions at once
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.obey()
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// obey does what a child was started for. What is not delivered when it returns never is.
func (o *order) obey() error {
	a, err := o.connect()
	if err != nil {
		return err
	}
	if o.Talk > 0 {
		if err := converse(a, o.Talk); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	if o.Send > 0 {
		if _, err := sendFile(a, 1, o.Send); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	return a.Close()
}

func (o *order) connect() (*transport.Association, error) {
	cfg := &transport.Config{Linger: 2 * time.Minute}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Remote != "" {
		cfg.Local = o.Local
		return transport.Dial(ctx, o.Remote, cfg)
	}
	l, err := transport.Listen(o.Local, cfg)
	if err != nil {
		return nil, err
	}
	fmt.Println("listening on", l.Addr())
	a, err := l.AcceptAssociation(ctx)
	return a, errors.Join(err, l.Close())
}

// converse exchanges records with somebody who does the same.
func converse(a *transport.Association, count int) error {
	sent := make(chan error, 1)
	go func() { sent <- sendRecords(a, count) }()
	_, err := receiveRecords(a, count)
	return errors.Join(err, <-sent)
}

// child is a process that obeys an order.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	end   io.Closer
}

// start runs this test's own program as a child, in a host unless that is nil.
func start(t *testing.T, h *netlab.Host, o order) *child {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if h != nil {
		err = h.Start(cmd)
	} else {
		err = cmd.Start()
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &child{cmd, bufio.NewScanner(out), out}
}

// listening waits until the child listens and returns where.
func (c *child) listening(t *testing.T) string {
	t.Helper()
	require.True(t, c.lines.Scan(), "the child says where it listens")
	at, ok := strings.CutPrefix(c.lines.Text(), "listening on ")
	require.True(t, ok, c.lines.Text())
	return at
}

// wait waits for the child's end, which must be a good one.
func (c *child) wait(t *testing.T) {
	t.Helper()
	said := ""
	for c.lines.Scan() {
		said += c.lines.Text() + "\n"
	}
	require.NoError(t, c.cmd.Wait(), said)
}
