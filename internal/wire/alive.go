package wire

// ParseHeartbeat returns the Heartbeat Info in a HEARTBEAT or HEARTBEAT ACK: the parameter's value, opaque to all but its
// sender. The answer to a HEARTBEAT echoes the whole Chunk.Value, see Builder.HeartbeatAck. Errors: ErrWrongChunk, ErrParam
// when the parameter is malformed, ErrMissing when another or none stands first.
func ParseHeartbeat(c Chunk) (info []byte, err error) {
	if c.Type != TypeHeartbeat && c.Type != TypeHeartbeatAck {
		return nil, ErrWrongChunk
	}
	it := Params(c.Value)
	p, ok := it.Next()
	switch {
	case it.Err() != nil:
		return nil, it.Err()
	case !ok || p.Type != ParamHeartbeatInfo:
		return nil, ErrMissing
	}
	return p.Value, nil
}

// Heartbeat appends a HEARTBEAT with info as the value of its Heartbeat Info parameter (RFC 9260 section 3.3.5).
func (b *Builder) Heartbeat(info []byte) bool {
	if !b.begin(TypeHeartbeat, 0, ParamHeaderLen+len(info)) {
		return false
	}
	b.Param(ParamHeartbeatInfo, info)
	b.FinishChunk()
	return true
}

// HeartbeatAck appends a HEARTBEAT ACK that echoes value, the Chunk.Value of the HEARTBEAT it answers, parameter header
// included (RFC 9260 section 3.3.6).
func (b *Builder) HeartbeatAck(value []byte) bool { return b.Chunk(TypeHeartbeatAck, 0, value) }

// Pad appends a PAD chunk of n bytes, its header included, n being a multiple of four and at least four
// (RFC 4820 section 3). False: n is not such, or no room.
func (b *Builder) Pad(n int) bool {
	if n < ChunkHeaderLen || n%4 != 0 || !b.begin(TypePad, 0, n-ChunkHeaderLen) {
		return false
	}
	clear(b.grow(n - ChunkHeaderLen))
	b.FinishChunk()
	return true
}

// PadTo fills the packet with a PAD chunk up to size bytes exactly: a probe of the path MTU (RFC 8899). True when the packet
// has the size afterwards, already had it included; false when it is larger, size is no multiple of four or above the limit.
func (b *Builder) PadTo(size int) bool {
	n := size - b.Len()
	return n == 0 || b.Pad(n)
}
