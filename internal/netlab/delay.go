package netlab

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A delayLine is the long cable of a path. The router's kernel hands it every packet it is to forward, over a TUN
// interface; it gives each back after the delay, in order, and the kernel forwards it as if it had just come.
type delayLine struct {
	tun   *os.File
	delay atomic.Int64 // nanoseconds
	late  atomic.Int64 // nanoseconds, the worst

	mu   sync.Mutex
	held []heldPacket
	wake chan struct{} // one token: something is held again
	done sync.WaitGroup
}

type heldPacket struct {
	at  time.Time
	buf []byte
}

// delayName is the line's interface at the router.
const delayName = "delay"

// A line that nobody empties loses packets rather than memory.
const maxHeld = 1 << 16

// SetDelay changes how long the router on a path holds each packet, in each direction: half the round trip. Packets
// never overtake each other when it shrinks. Packets held when it becomes 0 still leave.
func (l *Lab) SetDelay(path int, d time.Duration) error {
	return l.change(path, func(*router) error { return l.setDelay(path, d) })
}

func (l *Lab) setDelay(path int, d time.Duration) error {
	r := l.routers[path]
	if r.line == nil {
		if d <= 0 {
			return nil
		}
		tun, err := r.tun(delayName, l.opts.MTU)
		if err != nil {
			return err
		}
		r.line = startDelayLine(tun)
		var up script
		up.add("link set dev %s mtu %d up", delayName, l.opts.MTU)
		if err := r.ip(&up); err != nil {
			return err
		}
		for _, fam := range families {
			var s script
			s.add("route replace default dev %s table 200", delayName)
			for _, port := range []string{"to-a", "to-b", "xto-a", "xto-b"} {
				s.add("rule add iif %s lookup 200", port)
			}
			if err := r.ipOf(fam.flag, &s); err != nil {
				return err
			}
		}
	}
	r.line.delay.Store(int64(max(d, 0)))
	return nil
}

// Lateness returns by how much packets left the delay lines later than asked, the worst since the last call. It is the
// emulator's own error: measurements in which it exceeds the effect prove nothing.
func (l *Lab) Lateness() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var worst int64
	for _, r := range l.routers {
		if r.line != nil {
			worst = max(worst, r.line.late.Swap(0))
		}
	}
	return time.Duration(worst)
}

func startDelayLine(tun *os.File) *delayLine {
	d := &delayLine{tun: tun, wake: make(chan struct{}, 1)}
	d.done.Add(2)
	go d.read()
	go d.write()
	return d
}

func (d *delayLine) close() {
	d.tun.Close()
	d.done.Wait()
}

// read takes packets from the kernel until the interface is closed.
func (d *delayLine) read() {
	defer d.done.Done()
	defer close(d.wake)
	buf := make([]byte, 65536)
	for {
		n, err := d.tun.Read(buf)
		if err != nil {
			return
		}
		at := time.Now().Add(time.Duration(d.delay.Load()))
		pkt := append([]byte(nil), buf[:n]...)
		d.mu.Lock()
		if len(d.held) < maxHeld {
			d.held = append(d.held, heldPacket{at, pkt})
		}
		d.mu.Unlock()
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// write gives packets back when their time has come.
func (d *delayLine) write() {
	defer d.done.Done()
	var batch []heldPacket
	for range d.wake {
		for {
			d.mu.Lock()
			batch, d.held = d.held, batch[:0]
			d.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			for i, p := range batch {
				if wait := time.Until(p.at); wait > 0 {
					time.Sleep(wait)
				}
				late := int64(time.Since(p.at))
				if late > d.late.Load() {
					d.late.Store(late)
				}
				if _, err := d.tun.Write(p.buf); err != nil && closed(err) {
					return
				}
				batch[i].buf = nil
			}
		}
	}
}
