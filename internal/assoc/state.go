package assoc

// State is the association's state of RFC 9260 section 4.
type State uint8

// The states. Closed is both the state before an association exists and the one after it ended.
const (
	Closed State = iota
	CookieWait
	CookieEchoed
	Established
	ShutdownPending
	ShutdownSent
	ShutdownReceived
	ShutdownAckSent
	numStates
)

var stateText = [numStates]string{"CLOSED", "COOKIE-WAIT", "COOKIE-ECHOED", "ESTABLISHED", "SHUTDOWN-PENDING", "SHUTDOWN-SENT", "SHUTDOWN-RECEIVED", "SHUTDOWN-ACK-SENT"}

// String returns the state's name in RFC 9260.
func (s State) String() string {
	if s < numStates {
		return stateText[s]
	}
	return "invalid state"
}

func set(states ...State) (m uint16) {
	for _, s := range states {
		m |= 1 << s
	}
	return m
}

// next is the table of legal moves (RFC 9260 figure 3). Every state may fall to Closed: an ABORT, a failure.
var next = [numStates]uint16{
	Closed:           set(CookieWait, Established),
	CookieWait:       set(Closed, CookieEchoed, Established), // Established: the peer's COOKIE ECHO won a collision
	CookieEchoed:     set(Closed, Established),
	Established:      set(Closed, ShutdownPending, ShutdownSent, ShutdownReceived),
	ShutdownPending:  set(Closed, ShutdownSent, ShutdownReceived, Established), // Established: the peer restarted
	ShutdownSent:     set(Closed, ShutdownAckSent, Established),
	ShutdownReceived: set(Closed, ShutdownAckSent, Established),
	ShutdownAckSent:  set(Closed),
}

// CanMove reports whether the table of legal moves leads from s to to.
func (s State) CanMove(to State) bool { return next[s]&(1<<to) != 0 }

// Open reports whether user data may flow in at least one direction.
func (s State) Open() bool { return s >= Established && s <= ShutdownReceived }

// mayReceive: states in which DATA is taken (RFC 9260 section 6).
const mayReceive = 1<<Established | 1<<ShutdownPending | 1<<ShutdownSent

// maySend: states in which DATA leaves.
const maySend = 1<<Established | 1<<ShutdownPending | 1<<ShutdownReceived

func (s State) in(m uint16) bool { return m&(1<<s) != 0 }
