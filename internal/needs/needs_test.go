package needs

import (
	"fmt"
	"net/netip"
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
		{"address", func(t T) { Address(t, netip.MustParseAddr("192.0.2.1")) }, "needs the address 192.0.2.1: "},
	}
	for _, tt := range tests {
		for _, v := range []string{"", "0"} {
			t.Run(tt.name+" may skip "+v, func(t *testing.T) {
				t.Setenv(Variable, v)
				var f fake
				tt.ask(&f)
				require.Empty(t, f.failed)
				require.Contains(t, f.skipped, tt.want)
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
	Address(&f, netip.MustParseAddr("127.0.0.1"))
	require.Equal(t, fake{}, f)
}

func TestSeed(t *testing.T) {
	t.Setenv(SeedVariable, "0x2a")
	require.EqualValues(t, 42, Seed(t))
	t.Setenv(SeedVariable, "")
	require.NotZero(t, Seed(t))
}
