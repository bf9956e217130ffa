package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/capture"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/wire"
)

// keepVariable names the environment variable with the directory to keep captures in.
const keepVariable = "MULTIHOME_CAPTURES"

// keptFiles is how many files of 16 MiB a test may fill.
const keptFiles = 32

// record captures what the endpoint under test sends and receives. At the end of the test an independent reader judges it.
// Of very long runs the newest 512 MiB are judged. Faults of the peer's that are known are remarks.
func record(t testing.TB, known ...func(line []string) bool) *capture.Capture {
	t.Helper()
	needs.Program(t, "tshark", "tshark")
	dir := t.TempDir()
	if keep := os.Getenv(keepVariable); keep != "" {
		dir = filepath.Join(keep, strings.Map(func(r rune) rune {
			if strings.ContainsRune(`/\ :,`, r) {
				return '_'
			}
			return r
		}, t.Name()))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		run, err := os.MkdirTemp(dir, "")
		require.NoError(t, err)
		dir = run
	}
	c, err := capture.Rotate(filepath.Join(dir, "test.pcapng"), &capture.Options{FileSize: 16 << 20, Files: keptFiles, Buffer: 64 << 20})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		st := c.Stats()
		require.Zero(t, st.Dropped, "packets are missing in the capture")
		require.NotZero(t, st.Packets, "nothing was captured")
		files, err := filepath.Glob(filepath.Join(dir, "test_*.pcapng"))
		require.NoError(t, err)
		all := newOpinion()
		start := time.Now()
		for _, f := range files {
			all.add(judge(t, f, known...))
		}
		if st.Files <= keptFiles {
			require.EqualValues(t, st.Packets, all.packets)
		}
		t.Logf("tshark read %d of %d packets in %v: %s", all.packets, st.Packets, time.Since(start).Round(10*time.Millisecond), &all)
		for _, f := range all.faults {
			t.Errorf("tshark: %s", f)
		}
		for _, want := range expected(t) {
			want(&all)
		}
	})
	return c
}

// expectations are what tests want to have been on the wire, per test, as the reader sees it.
var expectations struct {
	sync.Mutex
	of map[testing.TB][]func(*opinion)
}

func expected(t testing.TB) []func(*opinion) {
	expectations.Lock()
	defer expectations.Unlock()
	return expectations.of[t]
}

func expect(t testing.TB, want func(*opinion)) {
	expectations.Lock()
	defer expectations.Unlock()
	if expectations.of == nil {
		expectations.of = make(map[testing.TB][]func(*opinion))
	}
	expectations.of[t] = append(expectations.of[t], want)
}

// bothWays demands that chunks of these types went in both directions.
func bothWays(t testing.TB, types ...wire.ChunkType) {
	expect(t, func(o *opinion) {
		for _, typ := range types {
			assert.NotZero(t, o.chunks[chunkSeen{true, typ}], "chunks of type %d sent", typ)
			assert.NotZero(t, o.chunks[chunkSeen{false, typ}], "chunks of type %d received", typ)
		}
	})
}

// neverSeen demands that there were none of these types.
func neverSeen(t testing.TB, types ...wire.ChunkType) {
	expect(t, func(o *opinion) {
		for _, typ := range types {
			assert.Zero(t, o.chunks[chunkSeen{true, typ}], "chunks of type %d sent", typ)
			assert.Zero(t, o.chunks[chunkSeen{false, typ}], "chunks of type %d received", typ)
		}
	})
}

// opinion is what the reader says about a capture.
type opinion struct {
	packets, good int
	remarks       map[string]int    // of less than error level
	chunks        map[chunkSeen]int // of each type
	faults        []string
}

// chunkSeen is a direction, seen from us, and a chunk's type.
type chunkSeen struct {
	sent bool
	typ  wire.ChunkType
}

func newOpinion() opinion {
	return opinion{remarks: make(map[string]int), chunks: make(map[chunkSeen]int)}
}

func (o *opinion) add(p opinion) {
	o.packets += p.packets
	o.good += p.good
	o.faults = append(o.faults, p.faults...)
	for k, v := range p.remarks {
		o.remarks[k] += v
	}
	for k, v := range p.chunks {
		o.chunks[k] += v
	}
}

func (o *opinion) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d checksums are right", o.good)
	for k, v := range o.remarks {
		fmt.Fprintf(&b, "; %d x %s", v, k)
	}
	return b.String()
}

// The fields that are asked for, a line per packet; several values of one field are separated by fieldSep.
var fields = []string{"frame.number", "frame.protocols", "sctp.checksum.status", "_ws.expert.severity", "_ws.expert.message", "_ws.malformed",
	"frame.packet_flags_direction", "sctp.chunk_type", "sctp.chunk_length"}

// emptyHeartbeat is a packet of pion/sctp's (1.12.1): it means to send a Heartbeat Info, and leaves it out.
func emptyHeartbeat(f []string) bool {
	return f[2] == "1" && f[6] == fmt.Sprintf("0x%08x", directionIn) && f[7] == "4" && f[8] == "4"
}

const (
	fieldSep      = "\x1f"
	severityError = 0x00800000 // PI_ERROR of Wireshark's expert information
	maxFaults     = 20
	directionIn   = 1 // of pcapng's packet flags
	directionOut  = 2
)

// judge has tshark read a capture. What is inside user messages is not looked at: it is ours, whatever protocol some port
// number suggests.
func judge(t testing.TB, file string, known ...func(line []string) bool) (o opinion) {
	t.Helper()
	args := []string{"-n", "-r", file, "-o", "sctp.checksum:CRC 32c", "-o", "sctp.ulp_dissection:FALSE", "-T", "fields",
		"-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=" + fieldSep}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	o = newOpinion()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		if len(f) == len(fields) && slices.ContainsFunc(known, func(is func([]string) bool) bool { return is(f) }) {
			o.packets++
			o.remarks["known fault of the peer's"]++
			continue
		}
		o.line(f)
	}
	require.NoError(t, lines.Err())
	require.NoError(t, cmd.Wait(), "tshark: %s", &stderr)
	return o
}

// line takes what was said about one packet.
func (o *opinion) line(f []string) {
	o.packets++
	fault := func(format string, args ...any) {
		if len(o.faults) < maxFaults {
			o.faults = append(o.faults, "packet "+f[0]+": "+fmt.Sprintf(format, args...))
		}
	}
	if len(f) != len(fields) {
		f = append(f, make([]string, len(fields))...)
		fault("%q is not what was asked for", f)
		return
	}
	if !strings.HasPrefix(f[1], "raw:ip:sctp") && !strings.HasPrefix(f[1], "raw:ipv6:sctp") {
		fault("is %s", f[1])
	}
	switch f[2] {
	case "1":
		o.good++
	default:
		fault("checksum status %q", f[2])
	}
	for _, s := range strings.Split(f[3], fieldSep) {
		if v, err := strconv.ParseUint(s, 0, 32); s != "" && (err != nil || v >= severityError) {
			fault("expert severity %s: %q", s, f[4])
		}
	}
	for _, m := range strings.Split(f[4], fieldSep) {
		if m != "" && !strings.HasPrefix(m, "in UDP") { // our own comment
			o.remarks[m]++
		}
	}
	if f[5] != "" {
		fault("malformed: %s", f[5])
	}
	direction, err := strconv.ParseUint(f[6], 0, 32)
	if err != nil || direction != directionIn && direction != directionOut {
		fault("direction %q", f[6])
	}
	for _, c := range strings.Split(f[7], fieldSep) {
		typ, err := strconv.ParseUint(c, 10, 8)
		if err != nil {
			fault("chunk type %q", c)
			continue
		}
		o.chunks[chunkSeen{direction == directionOut, wire.ChunkType(typ)}]++
	}
}

// TestReaderFindsFaults makes sure that the judge would see what it is asked for.
func TestReaderFindsFaults(t *testing.T) {
	needs.Program(t, "tshark", "tshark")
	good := func() []byte {
		var b wire.Builder
		b.Open(make([]byte, 0, 2000), wire.Header{SrcPort: 5000, DstPort: 7, Tag: 1})
		b.Sack(5, 1000)
		b.SackGap(2, 3)
		b.Data(&wire.Data{TSN: 1, Begin: true, End: true, Payload: []byte("hello")})
		return b.Seal()
	}
	tests := []struct {
		name string
		pkt  []byte
		want string // a part of a fault; none: no fault
	}{
		{"as it should be", good(), ""},
		{"checksum", flip(good(), len(good())-5, false), "Bad SCTP checksum"},
		{"chunk length", flip(good(), 12+3, true), "longer than remaining data"},
		{"gap count", flip(good(), 12+13, true), "alformed"},
		{"not SCTP", []byte("hello"), "alformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "one.pcapng")
			f, err := os.Create(file)
			require.NoError(t, err)
			c, err := capture.New(f, nil)
			require.NoError(t, err)
			c.Datagram(time.Now(), true, netip.MustParseAddrPort("10.0.0.1:5000"), netip.MustParseAddrPort("10.0.0.2:9999"), tt.pkt)
			require.NoError(t, c.Close())
			require.NoError(t, f.Close())
			o := judge(t, file)
			require.Equal(t, 1, o.packets)
			if tt.want == "" {
				require.Empty(t, o.faults)
				require.Equal(t, 1, o.good)
				return
			}
			require.Contains(t, strings.Join(o.faults, "\n"), tt.want)
		})
	}
}

// flip damages a byte and, with seal, makes the checksum right again.
func flip(pkt []byte, at int, seal bool) []byte {
	pkt[at] ^= 0x55
	if seal {
		binary.LittleEndian.PutUint32(pkt[8:], 0)
		wire.SetChecksum(pkt)
	}
	return pkt
}

// TestOpensWithoutHelp reads captures without any option, as somebody does who just opens the file.
func TestOpensWithoutHelp(t *testing.T) {
	needs.Program(t, "tshark", "tshark")
	for _, port := range []uint16{9899, 40000} {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("port %d, UDP headers %v", port, udp), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "a.pcapng")
				f, err := os.Create(file)
				require.NoError(t, err)
				c, err := capture.New(f, &capture.Options{UDP: udp})
				require.NoError(t, err)
				var b wire.Builder
				b.Open(make([]byte, 0, 2000), wire.Header{SrcPort: 5000, DstPort: 7, Tag: 1})
				b.Heartbeat([]byte("01234567"))
				c.Datagram(time.Now(), true, netip.MustParseAddrPort("[fd00::1]:5000"), netip.AddrPortFrom(netip.MustParseAddr("fd00::2"), port), b.Seal())
				require.NoError(t, c.Close())
				require.NoError(t, f.Close())
				read := func(args ...string) string {
					out, err := exec.Command("tshark", append([]string{"-r", file}, args...)...).Output()
					require.NoError(t, err)
					return string(out)
				}
				if udp && port != 9899 {
					require.NotContains(t, read(), "HEARTBEAT")
					require.Contains(t, read("-d", fmt.Sprintf("udp.port==%d,sctp", port)), "HEARTBEAT")
					return
				}
				require.Contains(t, read(), "HEARTBEAT")
				require.Contains(t, read(), "fd00::1")
			})
		}
	}
}
