package house

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHouse checks the whole tree.
func TestHouse(t *testing.T) {
	root := moduleRoot(t)
	files, texts := 0, 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if d.Name() == ".git" || p != root && exists(filepath.Join(p, "go.mod")) {
				return filepath.SkipDir // not ours to judge, or a module of its own
			}
			return nil
		}
		if !d.Type().IsRegular() || d.Name() == "go.sum" {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil || bytes.IndexByte(src, 0) >= 0 {
			return err // binary test data holds no words
		}
		var found []string
		if strings.HasSuffix(name, ".go") && !strings.Contains(name, "testdata/") {
			files++
			found = checkGo(name, src)
		} else {
			texts++
			found = checkWords(name, src)
		}
		for _, f := range found {
			t.Error(f)
		}
		return nil
	})
	require.NoError(t, err)
	require.NotZero(t, files)
	t.Logf("%d Go files and %d other text files", files, texts)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// moduleRoot returns the directory that holds go.mod.
func moduleRoot(t *testing.T) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for !exists(filepath.Join(dir, "go.mod")) {
		up := filepath.Dir(dir)
		require.NotEqual(t, dir, up, "no go.mod above the test")
		dir = up
	}
	return dir
}

// TestArrowsPointOneWay makes sure that the table itself has no circle and names only rooms it knows.
func TestArrowsPointOneWay(t *testing.T) {
	var visit func(room string, above []string)
	visit = func(room string, above []string) {
		require.NotContains(t, above, room, "circle")
		for to := range arrows[room] {
			require.Contains(t, arrows, to, "arrow of %s to a room without a line", room)
			visit(to, append(above[:len(above):len(above)], room))
		}
	}
	for room := range arrows {
		visit(room, nil)
	}
	for room := range pure {
		require.Contains(t, arrows, room)
		for to := range arrows[room] {
			require.True(t, pure[to] || to == "pktbuf", "pure room %s leans on %s", room, to)
		}
	}
	for _, never := range [][2]string{{"rx", "tx"}, {"tx", "rx"}, {"rx", "path"}, {"tx", "path"}, {"path", "tx"}} {
		require.False(t, arrows[never[0]][never[1]], never)
	}
}

// TestRulesCanFail proves on synthetic sources that each rule catches what it is for and lets the neighbour case pass.
func TestRulesCanFail(t *testing.T) {
	imp := func(pkg, path string) string { return "package " + pkg + "\nimport _ \"" + path + "\"\n" }
	ours := func(pkg, room string) string { return imp(pkg, module+"/internal/"+room) }
	body := func(pkg, imports, body string) string {
		return "package " + pkg + "\nimport (" + imports + ")\nfunc f() {\n" + body + "\n}\n"
	}
	long := func(n int) string { return strings.Repeat("_ = 0\n", n) }
	tests := []struct {
		name, file, src string
		want            string // part of the only finding; empty: none
	}{
		{"arrow to the right", "internal/tx/a.go", ours("tx", "wire"), ""},
		{"arrow to the left", "internal/wire/a.go", ours("wire", "tx"), "no arrow from wire to tx"},
		{"rx never sees tx", "internal/rx/a.go", ours("rx", "tx"), "no arrow from rx to tx"},
		{"tx never sees path", "internal/tx/a.go", ours("tx", "path"), "no arrow from tx to path"},
		{"tx names paths", "internal/tx/a.go", imp("tx", module+"/locator"), ""},
		{"locator imports nothing of ours", "locator/a.go", ours("locator", "mono"), "no arrow from locator to mono"},
		{"gate is for the driver", "internal/driver/a.go", ours("driver", "gate"), ""},
		{"gate is not for the core", "internal/assoc/a.go", ours("assoc", "gate"), "no arrow from assoc to gate"},
		{"object codec in a serving room", "internal/assoc/a.go", ours("assoc", "wire/debug"), "no arrow from assoc to wire/debug"},
		{"object codec in a test", "internal/assoc/a_test.go", ours("assoc", "wire/debug"), ""},
		{"test reaches to the left", "internal/rx/a_test.go", ours("rx", "assoc"), "no arrow from rx to assoc"},
		{"outside test of its own room", "internal/rx/a_test.go", ours("rx_test", "rx"), ""},
		{"example of a public room", "examples/echo/main.go", imp("main", module+"/transport"), ""},
		{"example reaches inside", "examples/echo/main.go", ours("main", "assoc"), "no arrow from examples/echo to assoc"},
		{"unknown room", "internal/attic/a.go", "package attic\n", "not in the plan"},
		{"module root as import", "transport/a.go", imp("transport", module), "no arrow from transport to ."},

		{"outside module in a source", "internal/wire/a.go", imp("wire", "golang.org/x/net/ipv4"), "may not import golang.org/x/net/ipv4"},
		{"system calls where they belong", "internal/udp/a.go", imp("udp", "golang.org/x/sys/unix"), ""},
		{"assertions in a test", "internal/wire/a_test.go", imp("wire", "github.com/stretchr/testify/require"), ""},
		{"assertions in a source", "internal/wire/a.go", imp("wire", "github.com/stretchr/testify/require"), "may not import"},
		{"another stack in its room", "internal/interop/a_test.go", imp("interop", "github.com/pion/sctp"), ""},
		{"another stack elsewhere", "internal/tx/a_test.go", imp("tx", "github.com/pion/sctp"), "may not import"},
		{"cgo", "internal/udp/a.go", imp("udp", "C"), "pure Go"},

		{"durations are fine", "internal/rto/a.go", body("rto", `"time"`, "_ = time.Second"), ""},
		{"time.Now", "internal/rto/a.go", body("rto", `"time"`, "_ = time.Now()"), "uses time.Now"},
		{"time.Since", "heartbeat/a.go", body("heartbeat", `"time"`, "_ = time.Since(time.Time{})"), "uses time.Since"},
		{"time.AfterFunc by value", "internal/timer/a.go", body("timer", `"time"`, "_ = time.AfterFunc"), "uses time.AfterFunc"},
		{"time.NewTimer", "internal/assoc/a.go", body("assoc", `"time"`, "_ = time.NewTimer(0)"), "uses time.NewTimer"},
		{"time.After", "internal/assoc/a.go", body("assoc", `"time"`, "_ = time.After(0)"), "uses time.After"},
		{"time.Sleep", "internal/assoc/a.go", body("assoc", `"time"`, "time.Sleep(0)"), "uses time.Sleep"},
		{"renamed clock", "internal/cc/a.go", body("cc", `clock "time"`, "_ = clock.Now()"), "uses time.Now"},
		{"dotted clock", "internal/cc/a.go", body("cc", `. "time"`, "_ = Second"), "with a dot"},
		{"clock in the driver", "internal/driver/a.go", body("driver", `"time"`, "_ = time.Now()"), ""},
		{"a field named like it", "internal/cc/a.go", body("cc", "", "var x struct{ Now int }; _ = x.Now"), ""},
		{"sleep in a pure room's test", "internal/cc/a_test.go", body("cc", `"time"`, "time.Sleep(1)"), "uses time.Sleep"},
		{"seed from the clock in a test", "internal/cc/a_test.go", body("cc", `"time"`, "_ = time.Now()"), ""},
		{"goroutine", "internal/rx/a.go", body("rx", "", "go f()"), "starts a goroutine"},
		{"goroutine in the driver", "internal/driver/a.go", body("driver", "", "go f()"), ""},
		{"channel field", "internal/rx/a.go", "package rx\ntype T struct{ c chan int }\n", "has a channel"},
		{"channel made", "internal/rx/a.go", body("rx", "", "_ = make(chan int)"), "has a channel"},
		{"sync", "internal/endpoint/a.go", imp("endpoint", "sync"), "imports sync"},
		{"sync/atomic", "internal/endpoint/a.go", imp("endpoint", "sync/atomic"), "imports sync/atomic"},
		{"math/rand", "heartbeat/a.go", imp("heartbeat", "math/rand"), "imports math/rand"},
		{"math/rand/v2", "heartbeat/a.go", imp("heartbeat", "math/rand/v2"), "imports math/rand/v2"},
		{"crypto/rand", "internal/assoc/a.go", imp("assoc", "crypto/rand"), "imports crypto/rand"},
		{"net", "internal/assoc/a.go", imp("assoc", "net"), "imports net"},
		{"net/netip", "internal/assoc/a.go", imp("assoc", "net/netip"), ""},
		{"os", "internal/assoc/a.go", imp("assoc", "os"), "imports os"},
		{"net in locator", "locator/pool.go", imp("locator", "net"), "imports net"},
		{"net where the system is asked", "locator/system.go", imp("locator", "net"), ""},
		{"but no locks there", "locator/system.go", imp("locator", "sync"), "imports sync"},
		{"memory pools have locks", "internal/pktbuf/a.go", imp("pktbuf", "sync"), ""},

		{"skip on its own", "internal/rx/a_test.go", body("rx", "", `t.Skip("not today")`), "package needs"},
		{"formatted skip", "internal/rx/a_test.go", body("rx", "", `t.Skipf("not on %s", day)`), "package needs"},
		{"skip of a benchmark", "internal/rx/a_test.go", body("rx", "", `b.Skip("not today")`), "package needs"},
		{"skip without a word", "internal/rx/a_test.go", body("rx", "", `t.SkipNow()`), "package needs"},
		{"skip of a builder", "internal/wire/a_test.go", body("wire", "", `b.Skip(9)`), ""},
		{"skip where it belongs", "internal/needs/a_test.go", body("needs", "", `t.Skip("not today")`), ""},

		{"600 lines", "internal/rx/a.go", "package rx\n" + strings.Repeat("\n", 599), ""},
		{"601 lines", "internal/rx/a.go", "package rx\n" + strings.Repeat("\n", 600), "file of 601 lines"},
		{"601 lines of test", "internal/rx/a_test.go", "package rx\n" + strings.Repeat("\n", 600), ""},
		{"function of 100 lines", "internal/rx/a.go", "package rx\nfunc f() {\n" + long(98) + "}\n", ""},
		{"function of 101 lines", "internal/rx/a.go", "package rx\nfunc f() {\n" + long(99) + "}\n", "f has 101 lines"},
		{"broken source", "internal/rx/a.go", "package", "expected"},

		{"mark", "internal/rx/a.go", "package rx\n\n// TO" + "DO later\n", "unfinished"},
		{"mark in a test", "internal/rx/a_test.go", "package rx\n\n// FIX" + "ME\n", "unfinished"},
		{"part of a word", "internal/rx/a.go", "package rx\n\n// TO" + "DOS XX" + "XX\n", ""},
		{"machine path", "internal/rx/a.go", "package rx\n\n// see /wo" + "rk/main\n", "path of one machine"},
		{"another machine path", "internal/rx/a.go", "package rx\n\nconst p = \"/tmp/des" + "ign/x\"\n", "path of one machine"},
		{"part of a path", "internal/rx/a.go", "package rx\n\n// net" + "wo" + "rk/path and a/wo" + "rk/b\n", ""},
		{"registry", "internal/rx/a.go", "package rx\n\n// from proxy.go" + "lang.org\n", "registry"},
		{"working paper", "internal/rx/a.go", "package rx\n\n// TAR" + "GETS.md says\n", "working paper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := checkGo(tt.file, []byte(tt.src))
			if tt.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1, fmt.Sprint(found))
			require.Contains(t, found[0], tt.want)
		})
	}
}

// TestWordsInText does the same for texts that are no Go source.
func TestWordsInText(t *testing.T) {
	for _, bad := range []string{
		"TO" + "DO: write this", "clone it to /ro" + "ot/x", "see ../sha" + "red/design", "as an ai assis" + "tant",
		"in the next ses" + "sion", "PROTO" + "COL.md rule 4", "a sub" + "agent wrote", "from py" + "pi.org",
	} {
		require.Len(t, checkWords("README.md", []byte("fine\n"+bad+"\nfine\n")), 1, bad)
	}
	require.Empty(t, checkWords("README.md", []byte("An association is a session in other words; work/life; the briefest hackathon.\n")))
}

// TestPageNamesEveryRoom holds docs/ARCHITECTURE.md against the tree.
func TestPageNamesEveryRoom(t *testing.T) {
	root := moduleRoot(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "ARCHITECTURE.md"))
	require.NoError(t, err)
	for room := range arrows {
		require.Contains(t, string(page), "`"+room+"`", "the page does not say what the room is")
	}
}
