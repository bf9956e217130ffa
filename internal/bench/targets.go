package main

// target is a line of the table of ratios.
type target struct {
	title   string
	measure string
	metric  string
	peer    string // of the ratio; "" where the figure itself counts
	must    float64
	aim     float64
	most    bool // must and aim are what is allowed at most
}

// targets are what this library wants to reach.
var targets = []target{
	{"bulk, loopback, against pion/sctp", "bulk", "rate", "pion", 12, 25, false},
	{"bulk, loopback, against quic-go", "bulk", "rate", "quic", 3, 5, false},
	{"bulk, loopback, against TCP", "bulk", "rate", "tcp", 0.5, 1, false},
	{"bulk, loopback, CPU s per GB, both ends", "bulk", "cpu", "", 2, 1, true},
	{"bulk, namespaces, MTU 1500, against TCP", "bulk-mtu1500", "rate", "tcp", 0.4, 1, false},
	{"messages of 64 bytes per second, against pion/sctp", "messages", "rate", "pion", 8, 20, false},
	{"64 bytes there and back, median, against UDP", "ping-pong", "p50", "udp", 2, 1.3, true},
	{"dial and close per second, against TCP", "handshakes", "rate", "tcp", 0.5, 1, false},
	{"idle, KiB per end", "idle", "memory", "", 4, 2, true},
	{"idle, goroutines per end", "idle", "goroutines", "", 0, 0, true},
	{"idle after use, KiB per end", "idle", "used", "", 4, 2, true},
}

func (t target) met(x, bound float64) bool {
	if t.most {
		return x <= bound
	}
	return x >= bound
}
