package heartbeat

import "strconv"

// State is the health of a path.
type State uint8

// The states of a path (RFC 9260 sections 5.4 and 8.2, RFC 7829 section 3).
const (
	Unconfirmed       State = iota // not yet proved to lead to the peer
	Active                         // answers
	PotentiallyFailed              // in doubt; used only when no path is Active
	Inactive                       // failed, or its local link is gone
)

var stateNames = [...]string{"Unconfirmed", "Active", "PotentiallyFailed", "Inactive"}

// String returns the name of the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// legal is the table of moves. The way back from Inactive leads over PotentiallyFailed when more than one answer is
// asked for, and to Unconfirmed when a local fault ends on a path that was never confirmed.
var legal = [...]uint8{
	Unconfirmed:       1<<Active | 1<<Inactive,
	Active:            1<<PotentiallyFailed | 1<<Inactive,
	PotentiallyFailed: 1<<Active | 1<<Inactive,
	Inactive:          1<<Active | 1<<PotentiallyFailed | 1<<Unconfirmed,
}

// CanMove reports whether a path may go from s to to directly. Staying is not a move.
func (s State) CanMove(to State) bool {
	return int(s) < len(legal) && int(to) < len(legal) && legal[s]&(1<<to) != 0
}

// Reason says what brought a verdict about.
type Reason uint8

// The reasons of verdicts.
const (
	NoReason          Reason = iota // nothing worth telling
	Confirmed                       // the nonce of a heartbeat came back: the path leads to the peer
	HeartbeatTimeouts               // heartbeats went unanswered
	DataTimeouts                    // the retransmission timer of data expired
	ProbeVerdict                    // a faster detector doubts the path (Monitor.Suspect)
	HeartbeatAcked                  // enough heartbeats in a row were answered
	DataAcked                       // data that travelled by this path alone was acknowledged
	SendError                       // a packet could not be handed to the network
	LocalFault                      // the local link or address is gone
	LocalRepair                     // the local link or address is back
	DataStuck                       // heartbeats are answered, data is not (Monitor.Stuck)
	Unreachable                     // the network says so (Monitor.Unreachable)
)

var reasonNames = [...]string{
	"no reason", "confirmed", "heartbeat timeouts", "data timeouts", "probe verdict", "heartbeat acknowledged",
	"data acknowledged", "send error", "local fault", "local repair", "data stuck",
	"network says unreachable",
}

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// Verdict is what an event means for the path.
type Verdict struct {
	From, To State   // equal when the state did not move
	Reason   Reason  // why it moved, or what happened when it did not
	Counted  bool    // the error counter was raised: back the timeout off, and count at the association
	Purpose  Purpose // from Monitor.Ack: what the answered heartbeat was sent for
}

// Changed reports whether the state moved.
func (v Verdict) Changed() bool { return v.From != v.To }

// String prints a move as "Active to PotentiallyFailed (probe verdict)", and anything else as the state and reason.
func (v Verdict) String() string {
	if v.Changed() {
		return v.From.String() + " to " + v.To.String() + " (" + v.Reason.String() + ")"
	}
	return v.To.String() + " (" + v.Reason.String() + ")"
}
