package script

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-multihome/multihome/internal/wire"
)

// chunkType reads a chunk type: a number, or its name with hyphens for spaces.
func chunkType(s string) (wire.ChunkType, error) {
	if n, err := strconv.ParseUint(s, 0, 8); err == nil {
		return wire.ChunkType(n), nil
	}
	for t := range 256 {
		if strings.ReplaceAll(wire.ChunkType(t).String(), " ", "-") == s {
			return wire.ChunkType(t), nil
		}
	}
	return 0, fmt.Errorf("unknown chunk type %q", s)
}

func holds(pkt []byte, t wire.ChunkType) bool {
	it := wire.Chunks(pkt)
	for ch, ok := it.Next(); ok; ch, ok = it.Next() {
		if ch.Type == t {
			return true
		}
	}
	return false
}

// listsAddrs reports whether a packet is an INIT with address parameters: a full one.
func listsAddrs(pkt []byte) bool {
	it := wire.Chunks(pkt)
	ch, ok := it.Next()
	if !ok || ch.Type != wire.TypeInit || len(ch.Value) < 16 {
		return false
	}
	params := wire.Params(ch.Value[16:])
	for p, ok := params.Next(); ok; p, ok = params.Next() {
		if p.Type == wire.ParamIPv4 || p.Type == wire.ParamIPv6 {
			return true
		}
	}
	return false
}

func cmdFilter(c *call) error {
	links := c.w.Net.Links(c.arg(0))
	if len(links) == 0 {
		return fmt.Errorf("no link %q", c.arg(0))
	}
	if c.arg(1) == "" {
		for _, l := range links {
			l.Filter = nil
		}
		return nil
	}
	t, err := chunkType(c.arg(1))
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(c.key("count", "-1"))
	if err != nil {
		return err
	}
	listing := c.arg(2) == "listing"
	filter := func(pkt []byte) bool {
		if count == 0 || !holds(pkt, t) || listing && !listsAddrs(pkt) {
			return false
		}
		count--
		return true
	}
	for _, l := range links {
		l.Filter = filter
	}
	return nil
}
