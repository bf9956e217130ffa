package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// sink turns records into pcapng, in one stream or in files that follow each other.
type sink struct {
	opts  *Options
	w     io.Writer // of New
	files *ring     // of Rotate
	limit int64     // size of a stream or file; 0: none

	ng     *pcapgo.NgWriter
	size   int64 // of the present stream or file, at most
	opened uint64
	full   bool // the stream has reached its limit

	ifaces map[netip.AddrPort]int // of the present stream or file
	told   map[[2]netip.AddrPort]struct{}
	mem    []byte
}

// Bounds of what is remembered for a file, and what blocks cost beside their packets and texts at most.
const (
	maxIfaces = 256
	maxTold   = 4096

	blockCost  = 96 // of a packet: block header and trailer, padding, options
	headerCost = 256
)

// packet writes one record and returns the size of the packet with its headers, 0 if the limit is reached.
func (s *sink) packet(r *record, payload []byte) (int, error) {
	if s.full {
		return 0, nil
	}
	r.local, r.peer = unmap(r.local), unmap(r.peer)
	src, dst := r.local, r.peer
	if !r.sent {
		src, dst = dst, src
	}
	s.mem = append(appendHeaders(s.mem[:0], src, dst, r.length, s.opts.UDP, r.sum), payload...)
	if s.ng != nil && s.limit > 0 && s.size+s.cost() > s.limit {
		if s.files == nil {
			s.full = true
			return 0, nil
		}
		if err := s.end(); err != nil {
			return 0, err
		}
	}
	id, err := s.iface(r.local)
	if err != nil {
		return 0, err
	}
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if r.sent {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	opts := pcapgo.NgPacketOptions{Flags: &flags}
	if r.lost > 0 {
		opts.DropCount = &r.lost
	}
	if text := s.ports(src, dst); text != "" {
		opts.Comments = []string{text}
	}
	s.size += s.cost()
	length := len(s.mem) - len(payload) + r.length
	return len(s.mem), s.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: r.at, CaptureLength: len(s.mem), Length: length, InterfaceIndex: id,
	}, s.mem, opts)
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// cost is what the packet in mem takes at most, with an interface and a comment.
func (s *sink) cost() int64 { return int64(len(s.mem) + blockCost + headerCost) }

// ports returns the comment for the first packet between two addresses, when the UDP headers that would tell are left out.
func (s *sink) ports(src, dst netip.AddrPort) string {
	pair := [2]netip.AddrPort{src, dst}
	if _, known := s.told[pair]; known || s.opts.UDP || len(s.told) >= maxTold {
		return ""
	}
	s.told[pair] = struct{}{}
	return fmt.Sprintf("in UDP, from port %d to %d", src.Port(), dst.Port())
}

// iface returns the number of the interface for one of our addresses, and begins a file where there is none.
func (s *sink) iface(local netip.AddrPort) (int, error) {
	if id, ok := s.ifaces[local]; ok {
		return id, nil
	}
	intf := pcapgo.NgInterface{Name: local.String(), LinkType: layers.LinkTypeRaw, SnapLength: s.snap()}
	if s.ng == nil {
		return 0, s.begin(local, intf)
	}
	if len(s.ifaces) >= maxIfaces {
		return 0, nil
	}
	s.ifaces[local] = len(s.ifaces)
	return s.ng.AddInterface(intf)
}

// snap is the snapshot length with headers, as readers expect it; 0: all.
func (s *sink) snap() uint32 {
	if s.opts.Snap == 0 {
		return 0
	}
	return uint32(min(s.opts.Snap+maxHeader, 1<<18))
}

// begin begins a stream or file with its first interface.
func (s *sink) begin(local netip.AddrPort, intf pcapgo.NgInterface) (err error) {
	w := s.w
	if s.files != nil {
		if w, err = s.files.next(); err != nil {
			return err
		}
		s.opened++
	}
	s.size = headerCost
	s.ifaces = map[netip.AddrPort]int{local: 0}
	s.told = make(map[[2]netip.AddrPort]struct{})
	s.ng, err = pcapgo.NewNgWriterInterface(bufio.NewWriterSize(w, 64<<10), intf, pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "multihome"},
	})
	return err
}

// flush hands everything to the writer or file.
func (s *sink) flush() error {
	if s.ng == nil {
		return nil
	}
	return s.ng.Flush()
}

// end ends a file.
func (s *sink) end() error {
	err := s.flush()
	s.ng, s.ifaces, s.told = nil, nil, nil
	if s.files != nil {
		err = errors.Join(err, s.files.close())
	}
	return err
}

// close ends the capture. A stream that saw no packet is still a capture, an empty one.
func (s *sink) close() error {
	if s.ng == nil && s.files == nil {
		local := netip.AddrPort{}
		if err := s.begin(local, pcapgo.NgInterface{Name: "none", LinkType: layers.LinkTypeRaw}); err != nil {
			return err
		}
	}
	return s.end()
}

// ring is files of which the newest are kept.
type ring struct {
	base, ext string // what stands before and behind time and number
	keep      int
	n         int
	file      *os.File
}

func newRing(path string, keep int) (*ring, error) {
	ext := filepath.Ext(path)
	r := &ring{base: strings.TrimSuffix(path, ext), ext: ext, keep: keep}
	if i, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	} else if !i.IsDir() {
		return nil, fmt.Errorf("capture: %s is no directory", filepath.Dir(path))
	}
	if filepath.Base(path) == "." || strings.HasSuffix(path, string(filepath.Separator)) {
		return nil, fmt.Errorf("capture: %q does not name a file", path)
	}
	return r, nil
}

// stamp is how the time stands in a file's name, so that names sort by age.
const stamp = "20060102T150405Z"

// next begins a file and removes the oldest ones.
func (r *ring) next() (io.Writer, error) {
	for {
		r.n++
		name := fmt.Sprintf("%s_%s_%05d%s", r.base, time.Now().UTC().Format(stamp), r.n, r.ext)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue // another capture has the same name
		}
		if err != nil {
			return nil, err
		}
		r.file = f
		return f, r.trim(filepath.Base(name))
	}
}

// trim removes the oldest files beyond the number that is kept, never the newest, which is in use.
func (r *ring) trim(newest string) error {
	dir := filepath.Dir(r.base)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var ours []string
	for _, e := range entries {
		if r.ours(e.Name()) && e.Name() != newest && e.Type().IsRegular() {
			ours = append(ours, e.Name())
		}
	}
	slices.Sort(ours)
	for _, name := range ours[:max(0, len(ours)-(r.keep-1))] {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ours reports whether a name is one that next makes.
func (r *ring) ours(name string) bool {
	name, isBase := strings.CutPrefix(name, filepath.Base(r.base)+"_")
	name, isExt := strings.CutSuffix(name, r.ext)
	at, n, split := strings.Cut(name, "_")
	if _, err := time.Parse(stamp, at); err != nil || !isBase || !isExt || !split || len(n) < 5 {
		return false
	}
	return strings.Trim(n, "0123456789") == ""
}

func (r *ring) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
