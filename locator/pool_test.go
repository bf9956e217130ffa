package locator

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// seeded returns a random source and prints how to get the same again.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(20260911)
	if s := os.Getenv("MULTIHOME_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("MULTIHOME_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestPool(t *testing.T) {
	list := at("10.0.0.1", "10.0.1.1", "2001:db8::1")
	p := NewPool(list[0], list[1], list[0], Locator{})
	require.Equal(t, 2, p.Len())
	require.EqualValues(t, 2, p.Version())
	require.False(t, p.Add(list[1]))
	require.False(t, p.Add(Locator{Port: 5}))
	require.EqualValues(t, 2, p.Version(), "nothing changed")
	q := p.Clone()
	require.True(t, p.Add(list[2]))
	require.True(t, p.Remove(list[0]))
	require.False(t, p.Remove(list[0]))
	require.EqualValues(t, 4, p.Version())
	require.Equal(t, list[1:], slices.Collect(p.All()))
	require.Equal(t, list[1:], p.AppendTo(nil))
	require.Equal(t, list[2], p.At(1))
	require.Equal(t, "10.0.1.1:5000,[2001:db8::1]:5000", p.String())
	require.Equal(t, list[:2], slices.Collect(q.All()), "the copy is its own")

	added, removed := q.Diff(p)
	require.Equal(t, list[2:], added)
	require.Equal(t, list[:1], removed)
	added, removed = p.Diff(p)
	require.Empty(t, added)
	require.Empty(t, removed)

	var zero Pool
	require.Equal(t, "", zero.String())
	require.True(t, zero.Add(list[0]))
}

// TestPoolAgainstModel runs random commands on a pool and on a plain slice.
func TestPoolAgainstModel(t *testing.T) {
	rnd := seeded(t)
	var p Pool
	var model []Locator
	for range 2000 {
		l := Locator{Addr: addr("10.0.0." + strconv.Itoa(rnd.IntN(12))), Port: uint16(rnd.IntN(2))}
		before := p.Version()
		i := slices.Index(model, l)
		var changed bool
		if rnd.IntN(2) == 0 {
			changed = p.Add(l)
			require.Equal(t, i < 0, changed)
			if changed {
				model = append(model, l)
			}
		} else {
			changed = p.Remove(l)
			require.Equal(t, i >= 0, changed)
			if changed {
				model = slices.Delete(model, i, i+1)
			}
		}
		require.Equal(t, changed, p.Version() != before)
		require.Equal(t, model, p.AppendTo(model[:0:0]))

		var other Pool
		for range rnd.IntN(6) {
			other.Add(Locator{Addr: addr("10.0.0." + strconv.Itoa(rnd.IntN(12)))})
		}
		added, removed := p.Diff(&other)
		to := p.Clone()
		for _, l := range removed {
			require.True(t, to.Remove(l))
		}
		for _, l := range added {
			require.True(t, to.Add(l))
		}
		require.ElementsMatch(t, other.list, to.list)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string][]Locator{
		"10.0.0.1:5000":                                  at("10.0.0.1"),
		"10.0.0.1:5000,10.0.1.1:5000":                    at("10.0.0.1", "10.0.1.1"),
		" 10.0.0.1:5000 , [2001:db8::1]:5000 ":           at("10.0.0.1", "2001:db8::1"),
		"[fe80::1%eth0]:5000":                            at("fe80::1%eth0"),
		"[::ffff:10.0.0.1]:5000":                         at("10.0.0.1"),
		"0.0.0.0:5000,[::]:5000":                         at("0.0.0.0", "::"),
		"10.0.0.1,10.0.0.2":                              {{Addr: addr("10.0.0.1")}, {Addr: addr("10.0.0.2")}},
		"[2001:db8::1]":                                  {{Addr: addr("2001:db8::1")}},
		"10.0.0.1:0":                                     {{Addr: addr("10.0.0.1")}},
		"10.0.0.1:05000":                                 at("10.0.0.1"),
		"[fe80::1%eth0]:5000,[fe80::1%eth1]:5000":        at("fe80::1%eth0", "fe80::1%eth1"),
		"10.0.0.1:5000,10.0.1.1:5000,[2001:db8::1]:5000": at("10.0.0.1", "10.0.1.1", "2001:db8::1"),
	} {
		got, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		"":                                     `item 1 ("") of "": it is empty`,
		"10.0.0.1:5000,":                       `item 2 ("") of "10.0.0.1:5000,": it is empty`,
		"10.0.0.1:5000,10.0.1.1:5001":          `item 2 ("10.0.1.1:5001") of "10.0.0.1:5000,10.0.1.1:5001": the port differs from 5000`,
		"10.0.0.1:5000,10.0.1.1":               `either all items have a port or none`,
		"10.0.0.1,10.0.1.1:5000":               `either all items have a port or none`,
		"10.0.0.1:5000,10.0.0.1:5000":          `item 2 ("10.0.0.1:5000")`,
		"10.0.0.1:5000,[::ffff:10.0.0.1]:5000": `it is repeated`,
		"10.0.0.1:65536":                       `the port is not a number`,
		"10.0.0.1:-1":                          `the port is not a number`,
		"10.0.0.1:":                            `the port is not a number`,
		"10.0.0.1:http":                        `the port is not a number`,
		"host.example:5000":                    `("host.example") of "host.example:5000": it is not an IP address`,
		"10.0.0.256:5000":                      `it is not an IP address`,
		":5000":                                `it is not an IP address`,
		":5000,10.0.0.1:5000":                  `an item without a host must stand alone`,
		"2001:db8::1":                          `must stand in brackets`,
		"2001:db8::1:5000":                     `must stand in brackets`,
		"[2001:db8::1":                         `the bracket is not closed`,
		"[]:5000":                              `the brackets are empty`,
		"[2001:db8::1]5000":                    `only a port may follow the bracket`,
		"224.0.0.1:5000":                       `it is not the address of a host`,
		"[ff02::1]:5000":                       `it is not the address of a host`,
	} {
		_, err := Parse(text)
		var le *ListError
		require.ErrorAs(t, err, &le, text)
		require.ErrorContains(t, err, want, text)
	}
	long := make([]string, MaxList+1)
	for i := range long {
		long[i] = "10.0.0." + strconv.Itoa(i)
	}
	_, err := Parse(strings.Join(long, ","))
	require.ErrorContains(t, err, "more than 64 items")
	_, err = Parse(strings.Join(long[:MaxList], ","))
	require.NoError(t, err)
}

func TestSplitList(t *testing.T) {
	hosts, port, has, err := SplitList("a.example:5000, b.example:5000,[2001:db8::1]:5000")
	require.NoError(t, err)
	require.Equal(t, []string{"a.example", "b.example", "2001:db8::1"}, hosts)
	require.EqualValues(t, 5000, port)
	require.True(t, has)

	hosts, _, has, err = SplitList("a.example")
	require.NoError(t, err)
	require.Equal(t, []string{"a.example"}, hosts)
	require.False(t, has)

	hosts, port, has, err = SplitList(":7")
	require.NoError(t, err)
	require.Equal(t, []string{""}, hosts)
	require.EqualValues(t, 7, port)
	require.True(t, has)
}

// FuzzParse: whatever is accepted prints, through a Pool, to something that parses to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"10.0.0.1:5000,10.0.1.1:5000,[2001:db8::1]:5000", "10.0.0.1", "[fe80::1%eth0]:1", ":5", "[", "[]", ",", "a:b:c", "[::]:0",
		"[fe80::1%,]:1", "[::ffff:1.2.3.4]:9",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Parse(s)
		if err != nil {
			var le *ListError
			require.ErrorAs(t, err, &le)
			return
		}
		require.NotEmpty(t, list)
		for i := range list {
			require.True(t, list[i].IsValid())
			require.Equal(t, list[0].Port, list[i].Port)
			list[i].Port = max(list[i].Port, 1) // port 0 is printed without brackets
		}
		again, err := Parse(NewPool(list...).String())
		require.NoError(t, err)
		require.Equal(t, list, again)
	})
}
