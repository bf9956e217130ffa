package driver

import "github.com/go-multihome/multihome/internal/udp"

// Shards.
//
// A local locator may have several sockets on the same port, each with its reader, among which the kernel chooses by our
// verification tag. What arrives for an association by one locator then has one reader, whatever path it came by, and what it
// answers leaves by the socket it was read from, so that shards do not meet in sockets either. That is a matter of speed only:
// any reader takes any packet. Tables, cookies and listeners are the node's.
//
// An INIT has no tag of ours. It goes by the tag the peer has chosen, so that a crowd of INITs spreads. A COOKIE ECHO has ours.

// Steering says what the kernel chooses by: the verification tag (RFC 9260 section 3.1), and where that is zero the Initiate Tag
// of the chunk behind it (section 3.3.2).
var Steering = udp.Steering{Word: 4, Otherwise: 16}

// shardsOf returns the sockets of each shard, by index of the local locator. A locator may have fewer sockets than another: then
// shards share one.
func shardsOf(socks []udp.Socket) [][]udp.Socket {
	most := 1
	for _, s := range socks {
		most = max(most, len(udp.Shards(s)))
	}
	shards := make([][]udp.Socket, most)
	for i := range shards {
		for _, s := range socks {
			of := udp.Shards(s)
			shards[i] = append(shards[i], of[i%len(of)])
		}
	}
	return shards
}

// startReaders starts one reader per socket.
func (n *Node) startReaders() {
	for i, s := range n.socks {
		of := udp.Shards(s)
		n.readers.Add(len(of))
		for k := range of {
			go newReader(n, i, k, of).routineRead()
		}
	}
}

// strayed counts a packet of an association that has come to another reader than the others of the association: the kernel looks
// at the first of several packets that a device has joined, which may be another association's.
func (r *reader) strayed(pkt []byte) {
	if Steering.Shard(pkt, r.of) != r.shard {
		r.node.stats.Missteered.Add(1)
	}
}
