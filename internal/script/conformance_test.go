package script

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page names tests of the whole module, which begins two folders up.
const (
	moduleRoot      = "../.."
	conformancePage = moduleRoot + "/docs/CONFORMANCE.md"
)

var (
	goTest    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	quoted    = regexp.MustCompile("`([^`]+)`")
	rowStatus = regexp.MustCompile(`^(done|(deviation|does not apply|not done): .+)$`)
	rowCounts = regexp.MustCompile(`Rows: (\d+) done, (\d+) deviations, (\d+) that do not apply, (\d+) not done\.`)
)

// TestConformancePage keeps docs/CONFORMANCE.md true in what a machine can check: four cells in each row, none empty, a
// status of the four with its reason, at least one test, and every test named is in the tree.
func TestConformancePage(t *testing.T) {
	tests := goTests(t)
	src, err := os.ReadFile(conformancePage)
	require.NoError(t, err)
	n := map[string]int{}
	named := map[string]bool{}
	for i, line := range strings.Split(string(src), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| requirement |") {
			continue
		}
		where := fmt.Sprintf("%s:%d: %s", conformancePage, i+1, line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		require.Len(t, cells, 4, where)
		for k := range cells {
			cells[k] = strings.TrimSpace(cells[k])
			require.NotEmpty(t, cells[k], where)
		}
		m := rowStatus.FindStringSubmatch(cells[2])
		require.NotNil(t, m, "status of %s", where)
		status, _, _ := strings.Cut(cells[2], ":")
		if status == "deviation" {
			require.Contains(t, cells[2], "Switch", "a deviation names its switch, or that there is none: %s", where)
		}
		n[status]++
		names := quoted.FindAllStringSubmatch(cells[3], -1)
		require.NotEmpty(t, names, where)
		for _, name := range names {
			named[name[1]] = true
			if strings.HasSuffix(name[1], ".txt") {
				require.FileExists(t, filepath.Join("testdata", name[1]), where)
			} else {
				require.True(t, tests[name[1]], "no test %s: %s", name[1], where)
			}
		}
	}
	m := rowCounts.FindStringSubmatch(string(src))
	require.NotNil(t, m, "the page counts its rows")
	for i, status := range []string{"done", "deviation", "does not apply", "not done"} {
		require.Equal(t, strconv.Itoa(n[status]), m[i+1], "rows that are %q", status)
	}
	sections, err := filepath.Glob("testdata/rfc*.txt")
	require.NoError(t, err)
	for _, f := range sections {
		require.True(t, named[filepath.Base(f)], "%s is named after a section and stands in no row", f)
	}
}

// goTests returns the names of all Go tests of the module.
func goTests(t *testing.T) map[string]bool {
	found := map[string]bool{}
	err := filepath.WalkDir(moduleRoot, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		src, err := os.ReadFile(name)
		for _, m := range goTest.FindAllSubmatch(src, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(found), 100)
	return found
}
