// Package serial gives the sequence numbers of SCTP types of their own, with the wrap-around order of RFC 1982
// that RFC 9260 section 1.6 asks for. Never compare them as bare integers.
package serial

// TSN is a Transmission Sequence Number (RFC 9260 section 3.3.1). It wraps at 2^32.
type TSN uint32

// SSN is a Stream Sequence Number (RFC 9260 section 3.3.1). It wraps at 2^16.
type SSN uint16

// MID is a Message Identifier of an I-DATA chunk (RFC 8260 section 2.1). It wraps at 2^32.
type MID uint32

// FSN is a Fragment Sequence Number of an I-DATA chunk (RFC 8260 section 2.1). It wraps at 2^32.
type FSN uint32

// RSN is a Re-configuration Request or Response Sequence Number (RFC 6525 section 4). It wraps at 2^32.
type RSN uint32

// Less reports whether t precedes u. Numbers exactly half the space apart are unordered: neither is Less.
func (t TSN) Less(u TSN) bool { return int32(t-u) < 0 && t-u != 1<<31 }

// LessEq reports whether t precedes or equals u.
func (t TSN) LessEq(u TSN) bool { return t == u || t.Less(u) }

// Sub returns the signed distance from u to t.
func (t TSN) Sub(u TSN) int32 { return int32(t - u) }

// Less reports whether s precedes u.
func (s SSN) Less(u SSN) bool { return int16(s-u) < 0 && s-u != 1<<15 }

// LessEq reports whether s precedes or equals u.
func (s SSN) LessEq(u SSN) bool { return s == u || s.Less(u) }

// Less reports whether m precedes u.
func (m MID) Less(u MID) bool { return int32(m-u) < 0 && m-u != 1<<31 }

// LessEq reports whether m precedes or equals u.
func (m MID) LessEq(u MID) bool { return m == u || m.Less(u) }

// Less reports whether f precedes u.
func (f FSN) Less(u FSN) bool { return int32(f-u) < 0 && f-u != 1<<31 }

// Less reports whether r precedes u.
func (r RSN) Less(u RSN) bool { return int32(r-u) < 0 && r-u != 1<<31 }

// Unwrap widens a 32-bit serial number to the 64-bit number nearest to ref, so that windows can be kept in plain
// ascending integers. ref must be within 2^31 of the result; start ref at or above 1<<32 so that it never goes negative.
func Unwrap(ref uint64, n uint32) uint64 {
	return ref + uint64(int64(int32(n-uint32(ref))))
}
