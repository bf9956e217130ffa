package script

import (
	"encoding/binary"
	"fmt"

	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/tx"
)

// pattern is what the byte at an offset of a stream must be. It differs by sender, stream and place, so that a byte which
// arrives twice, elsewhere or from another stream is noticed.
func pattern(salt uint32, sid uint16, offset uint64) byte {
	x := (offset + uint64(sid)<<40 + uint64(salt)<<17) * 0x9e3779b97f4a7c15
	return byte(x >> 56)
}

// numberLen is the length of the number in front of an unordered message.
const numberLen = 8

// outStream is how much was sent on a stream.
type outStream struct {
	offset   uint64 // of ordered bytes
	messages uint64
	number   uint64 // of unordered messages
}

// compose fills the next message of a stream: n bytes of the stream's pattern, or an unordered message, which carries its
// number and a pattern of its own behind it.
func (s *outStream) compose(m *tx.Message, salt uint32, n int) {
	s.messages++
	buf := make([]byte, n)
	if !m.Unordered {
		for i := range buf {
			buf[i] = pattern(salt, m.SID, s.offset)
			s.offset++
		}
		m.Data.Write(buf)
		return
	}
	var head [numberLen]byte
	binary.BigEndian.PutUint64(head[:], s.number)
	m.Data.Write(head[:])
	for i := range buf {
		buf[i] = pattern(salt+uint32(s.number), m.SID, uint64(i))
	}
	m.Data.Write(buf)
	s.number++
}

// inStream is what arrived on a stream, checked byte by byte.
type inStream struct {
	offset    uint64
	messages  uint64
	open      bool // in the middle of an ordered message
	unordered map[uint64]bool
	part      []byte // of an unordered message
}

// take checks one part. It returns what is wrong with it.
func (s *inStream) take(p *rx.Part, salt uint32) error {
	if p.Unordered {
		return s.takeUnordered(p, salt)
	}
	if p.Begin == s.open {
		return fmt.Errorf("stream %d at byte %d: begin=%v while a message is open=%v", p.SID, s.offset, p.Begin, s.open)
	}
	s.open = !p.End
	if p.End {
		s.messages++
	}
	for b := p.Data.Head; b != nil; b = b.Next() {
		for _, c := range b.Bytes() {
			if want := pattern(salt, p.SID, s.offset); c != want {
				return fmt.Errorf("stream %d: byte %d is %#x and should be %#x", p.SID, s.offset, c, want)
			}
			s.offset++
		}
	}
	return nil
}

func (s *inStream) takeUnordered(p *rx.Part, salt uint32) error {
	if p.Begin {
		s.part = s.part[:0]
	}
	for b := p.Data.Head; b != nil; b = b.Next() {
		s.part = append(s.part, b.Bytes()...)
	}
	if !p.End {
		return nil
	}
	s.messages++
	if len(s.part) < numberLen {
		return fmt.Errorf("stream %d: an unordered message of %d bytes", p.SID, len(s.part))
	}
	number := binary.BigEndian.Uint64(s.part)
	if s.unordered == nil {
		s.unordered = map[uint64]bool{}
	}
	if s.unordered[number] {
		return fmt.Errorf("stream %d: unordered message %d arrived twice", p.SID, number)
	}
	s.unordered[number] = true
	for i, c := range s.part[numberLen:] {
		if want := pattern(salt+uint32(number), p.SID, uint64(i)); c != want {
			return fmt.Errorf("stream %d: byte %d of unordered message %d is %#x and should be %#x", p.SID, i, number, c, want)
		}
	}
	return nil
}
