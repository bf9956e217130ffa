package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/netlab"
)

// A story is what happens to the path that carries the data. A sends to B.
type story struct {
	key, name string

	// lasts is how long the load goes on after the fault; zero means as the options say.
	lasts time.Duration

	// happen makes the fault and returns when it has taken effect.
	happen func(l *netlab.Lab, path int) error

	// goOn, if any, is what follows while the load goes on.
	goOn func(ctx context.Context, l *netlab.Lab, path int) error
}

// The flapping path is up and down for that long each, in turns.
const (
	flapEvery = time.Second
	flapFor   = 20 * time.Second
	lossFor   = 10 * time.Second
)

var stories = []*story{
	{key: "cut", name: "silent cut, both ways", happen: cut(netlab.Both)},
	{key: "forth", name: "only the data direction cut", happen: cut(netlab.Forth)},
	{key: "back", name: "only the return direction cut", happen: cut(netlab.Back)},
	{key: "carrier", name: "carrier lost at the sender", happen: func(l *netlab.Lab, path int) error { return l.A.CarrierDown(path) }},
	{key: "down", name: "link set down at the sender", happen: func(l *netlab.Lab, path int) error { return l.A.LinkDown(path) }},
	{key: "addr", name: "address removed at the sender", happen: func(l *netlab.Lab, path int) error { return l.A.AddrDel(path) }},
	{key: "gone", name: "link set down, then address removed at the sender", happen: func(l *netlab.Lab, path int) error {
		if err := l.A.LinkDown(path); err != nil {
			return err
		}
		return l.A.AddrDel(path)
	}},
	{key: "flap", name: "flapping: 1 s down, 1 s up, for 20 s", lasts: flapFor, happen: cut(netlab.Both), goOn: flap},
	{key: "loss", name: "1 % random loss each way, for 10 s", lasts: lossFor, happen: loss},
}

func cut(d netlab.Direction) func(l *netlab.Lab, path int) error {
	return func(l *netlab.Lab, path int) error { return l.Cut(path, d) }
}

// loss drops one of a hundred packets in each direction. A delayed packet passes the router's filter twice, from the
// interface it came by and from the delay line; only the first pass counts.
func loss(l *netlab.Lab, path int) error {
	return l.Filter(path, `iifname "to-a" numgen random mod 100 < 1 drop`, `iifname "to-b" numgen random mod 100 < 1 drop`)
}

// flap restores and cuts the path, in turns, after it was cut first. The last second is one in which it is up.
func flap(ctx context.Context, l *netlab.Lab, path int) error {
	tick := time.NewTicker(flapEvery)
	defer tick.Stop()
	for down, n := true, flapFor/flapEvery-1; n > 0; n-- {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var err error
		if down {
			err = l.Restore(path)
		} else {
			err = l.Cut(path, netlab.Both)
		}
		if err != nil {
			return err
		}
		down = !down
	}
	return nil
}

func storyKeys() (keys []string) {
	for _, s := range stories {
		keys = append(keys, s.key)
	}
	return keys
}

func storyOf(key string) (*story, error) {
	for _, s := range stories {
		if s.key == key {
			return s, nil
		}
	}
	return nil, fmt.Errorf("-stories %q: there are %s", key, strings.Join(storyKeys(), ", "))
}
