package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// The modes.
const (
	bulk     = "bulk"
	messages = "messages"
	requests = "requests"
)

// Limits of what may be ordered.
const (
	maxStreams = 65534
	maxSize    = 1 << 20
	maxLine    = 4 << 10 // of a control message
)

// order is what the client wants of one association.
type order struct {
	Mode      string  `json:"mode"`
	Direction string  `json:"direction"`
	Size      int64   `json:"size"`
	Streams   int     `json:"streams"`
	Total     int     `json:"total_streams"` // of all associations of the client, by which buffers are chosen
	Seconds   float64 `json:"seconds"`       // 0: until Bytes have gone
	Bytes     int64   `json:"bytes"`         // in each direction; 0: until Seconds have passed
	Policy    string  `json:"policy,omitempty"`
}

// check says whether the order can be carried out by anybody.
func (o *order) check() error {
	_, policy := policies[o.Policy]
	switch {
	case o.Mode != bulk && o.Mode != messages && o.Mode != requests:
		return fmt.Errorf("-mode %q: want bulk, messages or requests", o.Mode)
	case o.Direction != "up" && o.Direction != "down" && o.Direction != "both":
		return fmt.Errorf("-direction %q: want up, down or both", o.Direction)
	case o.Mode == requests && o.Direction != "both":
		return errors.New("requests go in both directions")
	case o.Size < 1 || o.Size > maxSize:
		return fmt.Errorf("-size takes 1 to %d bytes", maxSize)
	case o.Streams < 1 || o.Streams > maxStreams:
		return fmt.Errorf("-streams takes 1 to %d", maxStreams)
	case o.Seconds < 0 || o.Seconds > 365*86400 || o.Bytes < 0 || o.Seconds == 0 && o.Bytes == 0:
		return errors.New("neither time nor bytes end the measurement")
	case !policy:
		return fmt.Errorf("-policy %q: want failover, redundant or latency", o.Policy)
	}
	return nil
}

func (o *order) time() time.Duration { return time.Duration(o.Seconds * float64(time.Second)) }

// up and down tell which directions carry data.
func (o *order) up() bool   { return o.Direction != "down" }
func (o *order) down() bool { return o.Direction != "up" }

// buffer is how many bytes each stream reads at once: a whole message where those are counted, and for bulk as many as
// help, as long as all of them together stay within reason.
func (o *order) buffer() int {
	if o.Mode != bulk {
		return int(o.Size)
	}
	return min(64<<10, max(4<<10, 256<<20/max(1, o.Total)))
}

// memory is what the buffers of the order take at one end, with a goroutine or two for each.
func (o *order) memory() int64 { return int64(o.Streams) * int64(o.buffer()+8<<10) }

// word is a control message: one line of JSON. The client says "order", and the server "ready" or "error". The client says
// "start". From then on both ends are alike: who has sent everything says "sent" and how much that is; who has received as
// much says "result". A client that wants to end before its time says "stop". It hangs up when it has the result.
type word struct {
	Do    string `json:"do"`
	Order *order `json:"order,omitempty"`
	Error string `json:"error,omitempty"`
	// Token is the server's in "ready", for the connections that are the streams of TCP, which begin with "attach", the
	// token and the number of the stream.
	Token  string `json:"token,omitempty"`
	Stream int    `json:"stream,omitempty"`

	Count   *count  `json:"count,omitempty"`   // of "sent" and "result"
	Seconds float64 `json:"seconds,omitempty"` // of "result": from the beginning until the last byte had come
	CPU     float64 `json:"cpu,omitempty"`     // of "ready" and "result": seconds of the process so far
}

// count is what went in one direction.
type count struct {
	Bytes    int64 `json:"bytes"`
	Messages int64 `json:"messages"`
}

// control is the conversation of an association.
type control struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex // for writing
	wait time.Duration
}

func newControl(c net.Conn, wait time.Duration) *control {
	return &control{conn: c, in: bufio.NewReaderSize(c, maxLine), wait: wait}
}

// say sends a word.
func (c *control) say(w word) error {
	line, err := json.Marshal(w)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.conn.Write(append(line, '\n'))
	return err
}

// errForeign is wrapped when what came is nothing that this program says.
var errForeign = errors.New("the other side does not speak as perf does")

// hear waits for the next word, at most so long if that is not zero.
func (c *control) hear(wait time.Duration) (w word, err error) {
	var deadline time.Time
	if wait > 0 {
		deadline = time.Now().Add(wait)
	}
	if err = c.conn.SetReadDeadline(deadline); err != nil {
		return w, err
	}
	line, err := c.in.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return w, fmt.Errorf("%w: a control message longer than %d bytes", errForeign, maxLine)
	case err == io.EOF && len(line) > 0:
		return w, fmt.Errorf("%w: %s", errForeign, quote(line))
	case err != nil:
		return w, err
	}
	if json.Unmarshal(line, &w) != nil || w.Do == "" {
		return w, fmt.Errorf("%w: %s", errForeign, quote(line))
	}
	if w.Do == "error" {
		return w, fmt.Errorf("the other side says: %s", strings.Trim(quote([]byte(w.Error)), `"`))
	}
	return w, nil
}

// expect is hear for the one word that may come now.
func (c *control) expect(what string) (word, error) {
	w, err := c.hear(c.wait)
	if err == nil && w.Do != what {
		err = fmt.Errorf("%w: %q where %q is due", errForeign, cut(w.Do), what)
	}
	return w, err
}

// quote shows the beginning of what a stranger sent.
func quote(b []byte) string { return fmt.Sprintf("%q", cut(string(b))) }

func cut(s string) string {
	if len(s) > 80 {
		return s[:80]
	}
	return s
}
