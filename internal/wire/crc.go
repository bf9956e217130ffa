package wire

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// zeroSum stands in for the checksum field while the sum is taken, so that a received packet need not be modified. It is
// a variable of the package because a local array would escape through hash/crc32's indirect call.
var zeroSum [4]byte

// checksum returns the CRC32c over pkt with its checksum field taken as zero (RFC 9260 section 6.8). pkt has at least
// HeaderLen bytes.
func checksum(pkt []byte) uint32 {
	sum := crc32.Update(0, castagnoli, pkt[:8])
	sum = crc32.Update(sum, castagnoli, zeroSum[:])
	return crc32.Update(sum, castagnoli, pkt[HeaderLen:])
}

// ChecksumOK reports whether the packet's CRC32c is right. It does not modify pkt; one shorter than the common header is
// never right.
func ChecksumOK(pkt []byte) bool {
	return len(pkt) >= HeaderLen && binary.LittleEndian.Uint32(pkt[8:]) == checksum(pkt)
}

// SetChecksum writes the CRC32c into the packet's header. The sum is transmitted with its least significant byte first:
// RFC 9260 appendix A mirrors the polynomial's bits, which comes to the same. A packet shorter than the common header is
// left as it is.
func SetChecksum(pkt []byte) {
	if len(pkt) >= HeaderLen {
		binary.LittleEndian.PutUint32(pkt[8:], checksum(pkt))
	}
}
