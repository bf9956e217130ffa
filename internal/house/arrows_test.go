package house

import (
	"maps"
	"slices"
	"strings"
)

// module is the import path all rooms share.
const module = "github.com/go-multihome/multihome"

// A set is a set of room names. A room is named by its directory below the module, without "internal/".
type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

func union(sets ...set) set {
	out := set{}
	for _, s := range sets {
		maps.Copy(out, s)
	}
	return out
}

// The arrows of docs/ARCHITECTURE.md: a room may import what stands to its right. Each line is a room and everything it
// may import; what is not here has no arrow. gate is a leaf for driver and transport only.
var (
	leaves  = setOf("serial", "mono", "ranges", "timer", "pktbuf")
	outward = setOf("locator", "heartbeat")
	tools   = union(leaves, setOf("wire", "rto", "cc", "pmtu"))

	arrows = map[string]set{
		// leaves
		"serial": {}, "mono": {}, "ranges": {}, "pktbuf": {}, "gate": {},
		"timer": setOf("mono"),
		// public, standard types only
		"locator":   {},
		"heartbeat": setOf("locator"),
		// one concern each
		"wire": leaves,
		"rto":  leaves,
		"cc":   leaves,
		"pmtu": leaves,
		"udp":  leaves,
		// what the machine tells
		"netmon": leaves,
		// the core
		"rx":       union(leaves, setOf("wire")),
		"tx":       union(leaves, setOf("wire", "locator")),
		"path":     union(tools, outward),
		"assoc":    union(tools, outward, setOf("rx", "tx", "path")),
		"endpoint": union(tools, outward, setOf("rx", "tx", "path", "assoc")),
		// the corridor and the front door
		"driver":    union(tools, outward, setOf("gate", "rx", "tx", "path", "assoc", "endpoint", "udp", "netmon")),
		"transport": union(tools, outward, setOf("gate", "rx", "tx", "path", "assoc", "endpoint", "udp", "driver")),
		// public, for those who want captures: the library it needs stays out of everybody else's program
		"capture": {},
		// rooms that no serving room may import
		"wire/debug": union(leaves, setOf("wire")),
		"simnet":     union(leaves, setOf("udp", "locator", "wire", "wire/debug")),
		"script":     union(tools, outward, setOf("rx", "tx", "path", "assoc", "endpoint", "wire/debug", "simnet")),
		"needs":      {},
		"netlab":     {},
		"house":      {},
		"hostile":    union(tools, outward, setOf("rx", "tx", "path", "assoc", "endpoint", "transport", "needs")),
		"field":      setOf("transport", "locator", "heartbeat", "needs", "netlab"),
		"interop":    setOf("transport", "locator", "heartbeat", "capture", "needs", "netlab", "wire", "wire/debug"),
	}

	// testTools may be imported by the tests of every room, beside what the room itself may import.
	testTools = union(leaves, setOf("locator", "wire", "wire/debug", "simnet", "script", "needs", "netlab"))

	// testExtra lists what the tests of single rooms may import beyond that.
	testExtra = map[string]set{
		"simnet": setOf("assoc", "endpoint", "driver", "transport"), // whole stacks over virtual links
		"script": setOf("driver", "transport"),
		"udp":    setOf("gate"),
		"netlab": setOf("transport"),

		"capture": setOf("transport"),
	}

	// exampleArrows is what a program under examples may import: what every user has, and the network laboratory.
	exampleArrows = setOf("transport", "locator", "heartbeat", "netlab")

	// pure rooms have no clock, no goroutine, no lock and no randomness of their own.
	pure = setOf("locator", "heartbeat", "wire", "rx", "tx", "path", "assoc", "endpoint",
		"rto", "cc", "pmtu", "timer", "ranges", "serial", "mono")

	// outside lists the modules beyond the standard library that the sources of a room may import, by path prefix.
	outside = map[string][]string{
		"udp":    {"golang.org/x/sys/"},
		"netmon": {"golang.org/x/sys/", "github.com/mdlayher/netlink"},
		"driver": {"golang.org/x/sys/"},
		"netlab": {"golang.org/x/sys/"},
		"needs":  {"golang.org/x/sys/"},

		"capture": {"github.com/gopacket/gopacket/"},
	}

	// outsideTests may be imported by every test; outsideTestsOf by the tests of one room.
	outsideTests   = []string{"github.com/stretchr/testify/", "go.uber.org/goleak", "golang.org/x/sys/", "golang.org/x/net/"}
	outsideTestsOf = map[string][]string{"interop": {"github.com/pion/"}, "transport": {"github.com/pion/"}}
)

// allowed returns what a file of the room may import, and whether the room is known at all.
func allowed(room string, test bool) (set, bool) {
	if strings.HasPrefix(room, "examples/") {
		if test {
			return union(exampleArrows, testTools), true
		}
		return exampleArrows, true
	}
	to, known := arrows[room]
	if test {
		to = union(to, testTools, testExtra[room], setOf(room))
	}
	return to, known
}

// roomOf turns an import path of the module into a room name.
func roomOf(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	rest, ours := strings.CutPrefix(path, module+"/")
	return strings.TrimPrefix(rest, "internal/"), ours
}

// fromOutside reports whether a file of the room may import a package that is neither ours nor the standard library's.
func fromOutside(room, path string, test bool) bool {
	prefixes := outside[room]
	if test {
		prefixes = slices.Concat(prefixes, outsideTests, outsideTestsOf[room])
	}
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return path == strings.TrimSuffix(p, "/") || strings.HasPrefix(path, p)
	})
}
