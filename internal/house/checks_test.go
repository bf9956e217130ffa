package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	maxFileLines = 600
	maxFuncLines = 100
)

// clockUse are the names of package time that read or wait on a real clock.
var clockUse = setOf("Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep")

// waiting are those that a test of a pure room has no use for either: its time is virtual.
var waiting = setOf("After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep")

// skipping are the calls that end a test without a verdict.
var skipping = setOf("Skip", "Skipf", "SkipNow")

// isSkip tells the Skip of a testing.TB from that of a parser or a builder: by the name of its owner, or by its message.
func isSkip(call *ast.SelectorExpr, args []ast.Expr) bool {
	if !skipping[call.Sel.Name] {
		return false
	}
	if len(args) > 0 {
		if lit, ok := args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			return true
		}
	}
	x, ok := call.X.(*ast.Ident)
	return ok && (x.Name == "t" || x.Name == "tb")
}

// impure are the packages that bring locks, randomness, sockets or the machine into a room.
var impure = setOf("sync", "sync/atomic", "math/rand", "math/rand/v2", "crypto/rand", "net", "os", "syscall")

// pureExceptions are single files of pure rooms that may import a single impure package.
var pureExceptions = map[string]string{
	"locator/system.go": "net", // asks the system for its interfaces' addresses
}

// checkGo applies every rule for Go sources to one file, named by its slash-separated path below the module.
func checkGo(name string, src []byte) []string {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return []string{err.Error()}
	}
	c := &checker{name: name, test: strings.HasSuffix(name, "_test.go"), fset: fset, file: f}
	c.room, _ = roomOf(path.Join(module, path.Dir(name)))
	c.imports()
	c.skips()
	if pure[c.room] {
		c.purity()
	}
	if !c.test {
		c.sizes(src)
	}
	return append(c.found, checkWords(name, src)...)
}

type checker struct {
	name  string
	room  string
	test  bool
	fset  *token.FileSet
	file  *ast.File
	found []string
}

func (c *checker) say(at token.Pos, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", c.name, c.fset.Position(at).Line, fmt.Sprintf(format, args...)))
}

// imports checks each import against the arrows.
func (c *checker) imports() {
	to, known := allowed(c.room, c.test)
	if !known {
		c.say(c.file.Package, "room %q is not in the plan of the house: add its arrows to arrows_test.go and docs/ARCHITECTURE.md", c.room)
	}
	for _, spec := range c.file.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value)
		if imp == "C" {
			c.say(spec.Pos(), "cgo: the library is pure Go")
			continue
		}
		room, ours := roomOf(imp)
		first, _, _ := strings.Cut(imp, "/")
		switch {
		case ours && known && !to[room]:
			c.say(spec.Pos(), "no arrow from %s to %s", c.room, room)
		case !ours && strings.Contains(first, ".") && !fromOutside(c.room, imp, c.test):
			c.say(spec.Pos(), "%s may not import %s", c.room, imp)
		}
	}
}

// skips checks that a test which lacks something says so through package needs, where a skip can be made a failure.
func (c *checker) skips() {
	if c.room == "needs" {
		return
	}
	ast.Inspect(c.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && c.test && isSkip(sel, call.Args) {
				c.say(n.Pos(), "skips on its own instead of asking package needs")
			}
		}
		return true
	})
}

// purity checks that a pure room has no clock, goroutine, channel, lock, randomness or socket of its own.
func (c *checker) purity() {
	clock := clockUse
	if c.test {
		clock = waiting
	}
	timeName := ""
	for _, spec := range c.file.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value)
		if imp == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
			if timeName == "." {
				c.say(spec.Pos(), "pure room imports package time with a dot")
			}
		}
		bad := impure[imp] || strings.HasPrefix(imp, "golang.org/x/sys")
		if bad && !c.test && pureExceptions[c.name] != imp {
			c.say(spec.Pos(), "pure room imports %s", imp)
		}
	}
	ast.Inspect(c.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && clock[n.Sel.Name] {
				c.say(n.Pos(), "pure room uses time.%s", n.Sel.Name)
			}
		case *ast.GoStmt:
			if !c.test {
				c.say(n.Pos(), "pure room starts a goroutine")
			}
		case *ast.ChanType:
			if !c.test {
				c.say(n.Pos(), "pure room has a channel")
			}
		}
		return true
	})
}

// sizes checks how long the file and its functions are.
func (c *checker) sizes(src []byte) {
	if n := strings.Count(string(src), "\n"); n > maxFileLines {
		c.say(c.file.Package, "file of %d lines, more than %d: probably two rooms", n, maxFileLines)
	}
	for _, d := range c.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		n := c.fset.Position(fn.End()).Line - c.fset.Position(fn.Pos()).Line + 1
		if n > maxFuncLines {
			c.say(fn.Pos(), "%s has %d lines, more than %d", fn.Name.Name, n, maxFuncLines)
		}
	}
}

// bans are patterns that belong into no text of the tree. They are put together from pieces so that this file does not
// contain what it looks for. A text in which none of the hints occurs, in small letters, cannot match; looking for those
// first is what makes this fast.
var bans = []struct {
	what  string
	hints []string
	re    *regexp.Regexp
}{
	{"a mark of unfinished work", []string{"to" + "do", "fix" + "me", "xx" + "x", "ha" + "ck"},
		regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)},
	{"a path of one machine", []string{"/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/us" + "ers/", "/tmp/des" + "ign"},
		regexp.MustCompile(`(?m)(^|[^\w.])/(wo` + `rk|ro` + `ot|ho` + `me/\w+|Us` + `ers|tmp/des` + `ign)/`)},
	{"a path outside the repository", []string{"../sha" + "red"},
		regexp.MustCompile(`\.\./sha` + `red\b`)},
	{"the name of a package registry", []string{"go" + "lang.org", "go" + "proxy", "npm" + "js", "py" + "pi", "arti" + "factory"},
		regexp.MustCompile(`(?i)\b((proxy|sum)\.go` + `lang\.org|go` + `proxy\.\w+|npm` + `js\.org|py` + `pi\.org|arti` + `factory)\b`)},
	{"a working paper that is not in the tree", []string{".md"},
		regexp.MustCompile(`\b(INTER` + `FACES|TAR` + `GETS|PROTO` + `COL|STY` + `LE)\.md\b`)},
	{"a word about who wrote it", []string{"clau" + "de", "gpt", "anth" + "ropic", "open" + "ai", "co" + "pilot", "ai assis", "language mo", "co-auth"},
		regexp.MustCompile(`(?i)\b(clau` + `de|chat` + `gpt|anth` + `ropic|open` + `ai|co` + `pilot|language mo` + `del|ai assis` + `tant|co-auth` + `ored-by)\b`)},
	{"a word about a working session", []string{"ses" + "sion", "the br" + "ief", "ag" + "ent"},
		regexp.MustCompile(`(?i)\b((this|last|next|previous|earlier|my) ses` + `sion|the br` + `ief\b|sub-?ag` + `ent)`)},
}

// checkWords looks for banned patterns in any text file.
func checkWords(name string, src []byte) []string {
	var found []string
	small := bytes.ToLower(src)
	for _, b := range bans {
		if !slices.ContainsFunc(b.hints, func(h string) bool { return bytes.Contains(small, []byte(h)) }) {
			continue
		}
		for _, at := range b.re.FindAllIndex(src, -1) {
			line := 1 + bytes.Count(src[:at[0]], []byte("\n"))
			hit := bytes.TrimSpace(src[at[0]:at[1]])
			found = append(found, fmt.Sprintf("%s:%d: %s: %q", name, line, b.what, hit))
		}
	}
	return found
}
