package transport

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
)

// change sets a value to another one than it has. It reports false for what is no part of a configuration's text.
func change(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Struct:
		return change(v.Field(0))
	default:
		return false
	}
	return true
}

// Everything that the core may be configured with tells nodes apart, also what is added some day.
func TestCoreKeyHasAll(t *testing.T) {
	kind := reflect.TypeFor[assoc.Config]()
	for i := range kind.NumField() {
		f := kind.Field(i)
		if !f.IsExported() || f.Name == "Random" { // made by Fill; the node's own
			continue
		}
		var a assoc.Config
		require.True(t, change(reflect.ValueOf(&a).Elem().Field(i)), f.Name)
		require.NotEqual(t, coreKeyOf(&assoc.Config{}), coreKeyOf(&a), f.Name)
	}
}

// Dials share a node exactly when everything that their sockets and associations have in common is the same.
func TestNodeKey(t *testing.T) {
	key := func(c Config, local ...netip.Addr) nodeKey {
		p := dialing{user: &c, cfg: c.withDefaults(), local: local}
		return p.key()
	}
	var addrs []netip.Addr
	for i := range byte(6) {
		addrs = append(addrs, netip.AddrFrom4([4]byte{127, 0, 0, i}))
	}
	require.Equal(t, key(Config{}, addrs...), key(Config{}, addrs...))
	for n := range addrs {
		other := append([]netip.Addr(nil), addrs...)
		other[n] = netip.IPv6Loopback()
		require.NotEqual(t, key(Config{}, addrs...), key(Config{}, other...), "address %d", n)
		require.NotEqual(t, key(Config{}, addrs[:n]...), key(Config{}, addrs[:n+1]...), "%d addresses", n)
	}
	for _, apart := range []Config{
		{LocalUDPPort: 1}, {DSCP: 1}, {NoOffload: true}, {Shards: 2}, {SocketReadBuffer: 1}, {SocketWriteBuffer: 1},
		{SendBuffer: 1 << 17}, {MaxSendBuffer: 1 << 25}, {Memory: 1 << 20}, {MaxAssociations: 1}, {InitsPerSource: 1},
		{StrictAnswers: true}, {NoListing: true}, {AllStreams: true}, {OutStreams: 1}, {Heartbeat: &heartbeat.Config{Interval: 1}},
	} {
		require.NotEqual(t, key(Config{}), key(apart), "%+v", apart)
		require.Equal(t, key(apart), key(apart), "%+v", apart)
	}
	for _, together := range []Config{{Local: "127.0.0.1"}, {PPID: 1}, {MessageSize: 1}, {Linger: 1}, {Backlog: 1}} {
		require.Equal(t, key(Config{}), key(together), "%+v", together)
	}
	a := Config{Device: func(netip.Addr) string { return "" }}
	b := a
	require.NotEqual(t, key(a), key(b), "two with functions")
	p := dialing{user: &a, cfg: a.withDefaults()}
	require.Equal(t, p.key(), p.key(), "the same one with functions")
	shared := map[any]int{p.key(): 1}
	require.Equal(t, 1, shared[p.key()], "it can be a key")
}
