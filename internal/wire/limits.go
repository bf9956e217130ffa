package wire

// Limits on what a peer can make the readers do. Each is above what any honest packet needs, and low enough that one
// packet cannot keep a core busy. Where a limit cuts rather than refuses, the reader's comment says so.
const (
	// MaxPacket is the largest packet built, in bytes: the largest multiple of four that a 16-bit length can tell. A UDP
	// payload is at most 65507.
	MaxPacket = 65532

	// MaxChunks is how many chunks of one packet are read; more is ErrTooMany. A 64 KiB packet full of one-byte DATA
	// chunks has 3276.
	MaxChunks = 4096

	// MaxParams is how many parameters of one chunk are read; more is ErrTooMany. RFC 9260 section 3.3.3 wants an INIT ACK
	// with 1000 addresses to be bearable.
	MaxParams = 2048

	// MaxCauses is how many error causes of one ABORT or ERROR are read; more is ErrTooMany.
	MaxCauses = 256

	// MaxGapBlocks and MaxDupTSNs are how many of each a SACK view hands out; what is beyond is not seen. A missed block
	// only looks as if not yet received, which SACKs may take back at any time (RFC 9260 section 6.2.1).
	MaxGapBlocks = 4096
	MaxDupTSNs   = 4096

	// MaxSkips is how many stream entries a FORWARD-TSN or I-FORWARD-TSN view hands out; more is ErrTooMany, because a
	// stream whose entry was cut away would wait for ever.
	MaxSkips = 8192

	// DefaultMaxAddrs is how many address parameters of an INIT or INIT ACK are kept unless SetupParams.MaxAddrs says
	// otherwise; the rest is counted.
	DefaultMaxAddrs = 16

	// MaxUnrecognized is how many unrecognized parameters are kept for reporting; the rest goes unreported.
	MaxUnrecognized = 16

	// MaxRejected is how many types of our own parameters that the peer reports as unrecognized are kept.
	MaxRejected = 16
)
