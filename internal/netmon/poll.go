package netmon

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// pollEvery is how often the interfaces are looked at where the system does not tell of changes.
const pollEvery = time.Second

// poller looks at the interfaces again and again.
type poller struct {
	on   *watcher
	done chan struct{}
	once sync.Once
}

// openPoller works on every system that package net knows. It sees the network namespace that the process began in.
func openPoller(on *watcher, every time.Duration) (source, error) {
	p := &poller{on: on, done: make(chan struct{})}
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	on.update(func(t *table) { fill(t, ifs) })
	go p.routinePoll(every)
	return p, nil
}

func (p *poller) ask() {} // it will look soon enough

func (p *poller) close() { p.once.Do(func() { close(p.done) }) }

func (p *poller) routinePoll(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-t.C:
		}
		if ifs, err := net.Interfaces(); err == nil {
			p.on.turn.Lock()
			p.on.update(func(t *table) { fill(t, ifs) })
			p.on.turn.Unlock()
		}
	}
}

// fill describes the interfaces. The addresses of one that cannot be asked for them are kept as they were known.
func fill(t *table, ifs []net.Interface) {
	old := *t
	t.reset()
	for i := range ifs {
		f := &ifs[i]
		t.setLink(f.Index, link{name: f.Name, up: f.Flags&net.FlagUp != 0, running: f.Flags&net.FlagRunning != 0})
		addrs, err := f.Addrs()
		if err != nil {
			for a, hs := range old.addrs {
				for _, h := range hs {
					if h.link == f.Index {
						t.setAddr(a, h.link, h.ready)
					}
				}
			}
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					t.setAddr(ip, f.Index, true)
				}
			}
		}
	}
}
