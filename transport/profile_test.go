package transport

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/script"
)

// The transcripts under the profile rfc9260 are transcripts of what RFC9260 returns.
func TestProfileOfTranscripts(t *testing.T) {
	public, known := RFC9260().withDefaults().core(), script.RFC9260()
	public.Window, public.MaxWindow = 0, 0 // as large as everywhere
	public.Fill()
	known.Fill()
	require.Equal(t, known, public)
}
