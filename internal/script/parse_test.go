package script

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `# A transcript.

first a b key=val
second "two words" text="x y"
----
line one
  line two

# A comment in the middle.
third
----
`

func TestParse(t *testing.T) {
	f, err := Parse("sample", sample)
	require.NoError(t, err)
	require.Len(t, f.Blocks, 2)
	b := f.Blocks[0]
	require.Equal(t, []string{"# A transcript.", ""}, b.Lead)
	require.Equal(t, 3, b.Line)
	require.Equal(t, "line one\n  line two\n", b.Want)
	require.Equal(t, "first", b.Cmds[0].Verb)
	require.Equal(t, []string{"a", "b"}, b.Cmds[0].Args)
	require.Equal(t, map[string]string{"key": "val"}, b.Cmds[0].Keys)
	require.Equal(t, []string{"two words"}, b.Cmds[1].Args)
	require.Equal(t, map[string]string{"text": "x y"}, b.Cmds[1].Keys)
	require.Empty(t, f.Blocks[1].Want)
	require.Equal(t, sample, f.Format([]string{b.Want, ""}))
}

func TestFormatIsStable(t *testing.T) {
	for _, src := range []string{sample, sample + "\n# The end.\n", "go\n----\nout\n", "go\n----\nout\n\ngo\n----\n"} {
		f, err := Parse("x", src)
		require.NoError(t, err)
		var got []string
		for _, b := range f.Blocks {
			got = append(got, b.Want)
		}
		once := f.Format(got)
		require.Equal(t, src, once)
	}
}

func TestParseErrors(t *testing.T) {
	for _, src := range []string{"----\n", "cmd\n", "cmd\n\n----\n", "cmd \"open\n----\n", "cmd a=1 a=2\n----\n"} {
		_, err := Parse("x", src)
		require.Error(t, err, "%q", src)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("a\n----\nb\n\n")
	f.Fuzz(func(t *testing.T, src string) {
		file, err := Parse("fuzz", src)
		if err != nil {
			return
		}
		var got []string
		for _, b := range file.Blocks {
			got = append(got, b.Want)
		}
		again, err := Parse("again", file.Format(got))
		require.NoError(t, err)
		require.Equal(t, len(file.Blocks), len(again.Blocks))
		for i := range file.Blocks {
			require.Equal(t, file.Blocks[i].Want, again.Blocks[i].Want)
			require.Equal(t, len(file.Blocks[i].Cmds), len(again.Blocks[i].Cmds))
		}
	})
}
