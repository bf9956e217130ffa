package transport

import "github.com/go-multihome/multihome/internal/cc"

// Congestion names a congestion control (Config.Congestion).
type Congestion uint8

// The congestion controls.
const (
	CUBIC   Congestion = iota // RFC 8312: fills long paths within seconds, and is as fair as NewReno on short ones
	NewReno                   // RFC 9260 section 7.2
)

// String names the congestion control.
func (c Congestion) String() string {
	switch c {
	case CUBIC:
		return "CUBIC"
	case NewReno:
		return "NewReno"
	}
	return "unknown congestion control"
}

// kind is the core's name for it.
func (c Congestion) kind() cc.Kind {
	if c == NewReno {
		return cc.KindReno
	}
	return cc.KindCubic
}
