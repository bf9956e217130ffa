package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/locator"
	"github.com/go-multihome/multihome/transport"
)

// The functions that README.md shows, word by word.

func serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func ask(ctx context.Context, pool, question string) (answer string, err error) {
	c, err := transport.Dial(ctx, pool, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	fmt.Fprintln(c, question)
	return bufio.NewReader(c).ReadString('\n')
}

// The server and the client of README.md.
func Example() {
	l, err := transport.Listen("127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go serve(l)
	fmt.Println(ask(context.Background(), l.Addr().String(), "who is there?"))
	// Output:
	// who is there?
	//  <nil>
}

// TestReadme holds README.md against the tree: its code is code that is compiled and run, its pools are pools, what it
// links to and runs is there, and its first two commands are the ones they have always been.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var code strings.Builder
	for _, name := range []string{"readme_test.go", "../examples/tls/main.go"} {
		src, err := os.ReadFile(name)
		require.NoError(t, err)
		code.Write(src)
	}
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	count := map[string]int{}
	for _, b := range blocks {
		kind, text := b[1], b[2]
		count[kind]++
		switch kind {
		case "go":
			require.Contains(t, code.String(), text, "code that is not compiled")
		case "pool":
			for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
				_, _, port, err := locator.SplitList(strings.Fields(line)[0])
				require.NoError(t, err, line)
				require.True(t, port, line)
			}
		case "sh":
			if count[kind] == 1 {
				require.Equal(t, "go run ./examples/failover\ngo test ./...\n", text)
			}
		}
	}
	require.GreaterOrEqual(t, count["go"], 4)
	require.Equal(t, 1, count["pool"])

	// What the page says is not there must not be there, and the other way round.
	c, s, l := pair(t, "127.0.0.1:0", nil)
	defer l.Close()
	missing := strings.Contains(string(page), "`CloseWrite` returns `errors.ErrUnsupported`")
	require.Equal(t, missing, errors.Is(c.CloseWrite(), errors.ErrUnsupported), "half-close")
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	_, found := reflect.TypeFor[*transport.Stream]().MethodByName("WriteMessage")
	require.Equal(t, strings.Contains(string(page), "- A message API."), !found, "messages")

	for _, m := range regexp.MustCompile(`go (?:run|test|doc)(?: -all)? \./([\w/]+)`).FindAllStringSubmatch(string(page), -1) {
		require.DirExists(t, "../"+m[1])
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(m[1], "https://") {
			continue
		}
		_, err := os.Stat("../" + m[1])
		require.NoError(t, err, "link to %s", m[1])
	}
}
