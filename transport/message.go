package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/locator"
)

// MessageInfo tells about a message that was read.
type MessageInfo struct {
	Stream    uint16 // its stream's number
	PPID      uint32 // payload protocol identifier, as the peer's user gave it (RFC 9260 section 3.3.1)
	Unordered bool   // it may have passed others of its stream
	// More says that this was not the end of the message: the next ReadMessage goes on with it.
	More bool
	// Number is the stream sequence number, or with interleaving the message identifier, that the peer gave the message:
	// 0 for the first of a stream, and for unordered messages without interleaving, which have none.
	Number uint32
	// TSN is the transmission sequence number of the message's first chunk (RFC 9260 section 3.3.1). Every chunk has one, in the
	// order of sending over all streams; it wraps.
	TSN uint32
}

// MessageOptions say how a message travels. The zero value is a reliable, ordered message with PPID 0.
type MessageOptions struct {
	// PPID is the payload protocol identifier, which the peer's user gets to see (RFC 9260 section 3.3.1).
	PPID uint32

	// Unordered lets the message pass earlier ones of its stream that are still on their way (RFC 9260 section 6.6).
	Unordered bool

	// Lifetime is how long delivery is tried, counted from when the send buffer has taken the message (RFC 3758 section 4.1).
	// 0 means for ever. Where the peer does not know partial reliability, see PeerInfo, this and Resends mean nothing and
	// the message is reliable.
	Lifetime time.Duration

	// Resends is how many times any part of the message is sent again before it is given up (RFC 7496 section 3.1). 0 means
	// as often as it takes, NeverResend not once.
	Resends int

	// Priority lets the message be given up when the send buffer is full and one of a higher priority is written: one with a
	// lower number here, or with 0, which is above all and is never given up for others (RFC 7496 section 3.2, whose numbers
	// are one less). The lowest go first, of equals the oldest, and only those of which nothing was sent yet. A message that
	// finds room that way does not wait. EventSendFailed tells of those given up. Where the peer does not know partial
	// reliability Priority means nothing.
	Priority uint32

	// Policy says what paths the message takes. Default: that of the stream.
	Policy Policy

	// Immediate asks the peer to acknowledge the message without delay, by the I bit (RFC 9260 section 6.1).
	Immediate bool

	// More says that the message goes on with the next WriteMessage on this stream. Its bytes are collected and sent when a
	// call without More brings the end; that call's other options count for the whole.
	More bool

	// Whole refuses, with ErrMessageSize, to cut the message: it must fit one DATA chunk, see Stats.FragmentSize.
	Whole bool

	// Context comes back with the message in Undelivered. It does not travel.
	Context uint32
}

// NeverResend is the value of MessageOptions.Resends for messages that are sent once only.
const NeverResend = -1

// Policy says what paths messages take.
type Policy uint8

// The policies. One that spreads different messages over several paths at once would stand beside them.
const (
	// PolicyDefault is that of the stream for a message, that of Config for a stream, and Failover for a Config.
	PolicyDefault Policy = iota
	// Failover takes the primary path while it is well, and the best of the others when it is not.
	Failover
	// Redundant sends every message over Config.RedundantPaths paths at once, so that the loss of one loses no time. The
	// receiver drops what comes twice; the price is the bandwidth.
	Redundant
	// LowestLatency takes the path with the shortest round trip among those that are well.
	LowestLatency
)

// OnPath is the policy that takes one path, by its ID in Paths, while that is well, and is Failover else.
func OnPath(id locator.PathID) Policy { return onPath + Policy(id) }

// onPath is where the policies of OnPath begin.
const onPath = 16

var policyText = [...]string{"default", "failover", "redundant", "lowest latency"}

// String names the policy.
func (p Policy) String() string {
	switch {
	case int(p) < len(policyText):
		return policyText[p]
	case p >= onPath && p < onPath+locator.MaxPaths:
		return fmt.Sprintf("on path %d", p-onPath)
	}
	return "unknown policy"
}

// core is the policy as the core names it; def stands in for PolicyDefault.
func (p Policy) core(def path.Policy) path.Policy {
	switch p {
	case Failover:
		return path.Failover
	case Redundant:
		return path.Redundant
	case LowestLatency:
		return path.Fastest
	}
	if p >= onPath && p < onPath+locator.MaxPaths {
		return path.Only(locator.PathID(p - onPath))
	}
	return def
}

func (o *MessageOptions) driver(def path.Policy) driver.Options {
	d := driver.Options{
		PPID: o.PPID, Context: o.Context, Priority: o.Priority, Lifetime: o.Lifetime, Unordered: o.Unordered, Immediate: o.Immediate,
		More: o.More, Whole: o.Whole, OwnPolicy: o.Policy != PolicyDefault, Policy: o.Policy.core(def),
	}
	switch {
	case o.Resends == 0:
		d.Resends = -1
	case o.Resends > 0:
		d.Resends = o.Resends
	}
	return d
}

// ReadMessage waits for the next message and copies it into p. A message larger than p comes in pieces, and nothing of it is
// lost: MessageInfo.More says that the next call goes on with it. The same happens to a message that fills half of the
// receive window before its end is here, or when the window is full otherwise (RFC 9260 section 6.9). Behind the last message
// of a peer that ended the stream, or the association in order, comes io.EOF. ErrBroken says that the rest of a message, of
// which a piece was read, was given up by the peer.
//
// ReadMessage and Read may follow each other, but should not wait side by side: what a message is not yet whole for one, is
// bytes for the other.
func (s *Stream) ReadMessage(p []byte) (n int, info MessageInfo, err error) {
	if s.a.merged {
		return 0, info, s.a.opError("read", errMerged)
	}
	var part rx.Part
	n, more, err := s.s.ReadMessage(p, &part)
	return n, infoOf(&part, more, s.ID()), s.a.opError("read", err)
}

func infoOf(part *rx.Part, more bool, id uint16) MessageInfo {
	if part.SID != 0 {
		id = part.SID
	}
	return MessageInfo{Stream: id, PPID: part.PPID, Unordered: part.Unordered, More: more, Number: part.Seq, TSN: uint32(part.TSN)}
}

// WriteMessage queues p as one message and waits while the association's send buffer is full. Once it has returned, the
// message is sent whatever the program does, as far as its options let it; see Undelivered for those that are not. Nil
// options are those of the stream, see SetMessageOptions. A message larger than Config.MaxSendBuffer is refused with
// ErrMessageSize, an empty one with ErrEmptyMessage.
func (s *Stream) WriteMessage(p []byte, o *MessageOptions) error {
	return s.a.opError("write", s.write(p, o))
}

func (s *Stream) write(p []byte, o *MessageOptions) error {
	if o == nil {
		return s.s.WriteMessage(p, nil, &s.a.options)
	}
	d := o.driver(s.a.options.Policy)
	return s.s.WriteMessage(p, &d, &s.a.options)
}

// SetMessageOptions sets how messages travel that Write makes, and WriteMessage without options, from now on. More and Whole
// mean nothing here.
func (s *Stream) SetMessageOptions(o MessageOptions) {
	d := o.driver(s.a.options.Policy)
	d.More, d.Whole = false, false
	s.s.SetOptions(d)
}

// SetPolicy sets what paths messages of this stream take that have no policy of their own, from now on.
func (s *Stream) SetPolicy(p Policy) {
	d := s.a.options
	if set := s.s.Options(); set != nil {
		d = *set
	}
	d.Policy = p.core(s.a.options.Policy)
	s.s.SetOptions(d)
}

// errMerged says what is not there with Config.AllStreams.
var errMerged = errors.New("with Config.AllStreams messages are read with Association.ReadMessage")

// ReadMessage reads the next message of stream 0, or with Config.AllStreams of any stream: MessageInfo.Stream tells which,
// and messages come in the order in which they became whole. See [Stream.ReadMessage].
func (a *Association) ReadMessage(p []byte) (n int, info MessageInfo, err error) {
	if !a.merged {
		return a.stream0().ReadMessage(p)
	}
	var part rx.Part
	n, more, err := a.conn.ReadAny(p, &part)
	return n, infoOf(&part, more, 0), a.opError("read", err)
}

// WriteMessage writes a message to stream 0. See [Stream.WriteMessage].
func (a *Association) WriteMessage(p []byte, o *MessageOptions) error {
	return a.stream0().WriteMessage(p, o)
}

// Undelivered is a message that the peer has not acknowledged: it was given up because of its options, or the association
// ended before.
type Undelivered struct {
	Stream    uint16
	PPID      uint32
	Context   uint32 // MessageOptions.Context
	Unordered bool
	Size      int // bytes it had
	// Sent says that a part of it was sent at least. It may have arrived all the same.
	Sent bool
	// Reason says why: what of its options it was given up for, or that the association ended.
	Reason string
	// Data are its bytes, without those at its beginning that the peer has acknowledged. Only with
	// Config.KeepUndelivered.
	Data []byte
}

// Undelivered returns the messages that were not delivered since the last call, oldest first. They are kept only with
// Config.KeepUndelivered; EventSendFailed tells of them one by one. When nobody asks, older ones make room as soon as they
// are twice as many bytes as the send buffer holds.
func (a *Association) Undelivered() []Undelivered {
	failed := a.conn.Undelivered()
	out := make([]Undelivered, len(failed))
	for i := range failed {
		out[i] = undelivered(&failed[i])
	}
	return out
}
