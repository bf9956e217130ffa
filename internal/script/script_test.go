package script

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/simnet"
)

var rewrite = flag.Bool("rewrite", false, "write anew what the commands of testdata/*.txt print")

// TestTranscripts runs every transcript and compares. With -rewrite it writes them anew, for a person to read the
// difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { runTranscript(t, name) })
	}
}

func runTranscript(t *testing.T, name string) {
	src, err := os.ReadFile(name)
	require.NoError(t, err)
	f, err := Parse(name, string(src))
	require.NoError(t, err)

	before := pktbuf.Live()
	w := NewWorld(simnet.Seed(1))
	got, err := w.RunFile(f)
	w.Close()
	require.NoError(t, err, "printed before:\n%s", w.Out.String())
	require.Equal(t, before, pktbuf.Live(), "buffers leaked")

	if *rewrite {
		if text := f.Format(got); text != string(src) {
			require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		}
		return
	}
	for i, b := range f.Blocks {
		require.Equal(t, b.Want, got[i], "%s:%d: %s", name, b.Line, b.Cmds[len(b.Cmds)-1].Text)
	}
}
