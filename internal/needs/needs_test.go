package needs

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake records what would have become of a test.
type fake struct{ skipped, failed string }

func (f *fake) Helper()                           {}
func (f *fake) Skipf(format string, args ...any)  { f.skipped += fmt.Sprintf(format, args...) }
func (f *fake) Fatalf(format string, args ...any) { f.failed += fmt.Sprintf(format, args...) }

func TestMissing(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nothing")
	tests := []struct {
		name string
		ask  func(T)
		want string
	}{
		{"program", func(t T) { Program(t, "no-such-program", "some-package") }, "needs the program no-such-program: apt-get install some-package"},
		{"file", func(t T) { File(t, nowhere, "other-package") }, "needs the file " + nowhere + ": apt-get install other-package"},
	}
	for _, tt := range tests {
		for _, v := range []string{"", "0"} {
			t.Run(tt.name+" may skip "+v, func(t *testing.T) {
				t.Setenv(Variable, v)
				var f fake
				tt.ask(&f)
				require.Equal(t, fake{skipped: tt.want}, f)
			})
		}
		t.Run(tt.name+" must not skip", func(t *testing.T) {
			t.Setenv(Variable, "1")
			var f fake
			tt.ask(&f)
			require.Empty(t, f.skipped)
			require.Contains(t, f.failed, tt.want)
		})
	}
}

func TestPresent(t *testing.T) {
	t.Setenv(Variable, "1")
	var f fake
	Program(&f, "go", "golang")
	File(&f, t.TempDir(), "none")
	require.Equal(t, fake{}, f)
}
