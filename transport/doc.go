// Package transport is SCTP over UDP (RFC 9260, RFC 6951) for programs that want their connections to live through the
// loss of an address, an interface or a provider. It runs in user space and speaks with any SCTP stack that takes UDP
// encapsulation.
//
// # The first ten names
//
// [Dial] connects to a peer at one or several addresses, [Listen] waits for peers at all of ours. Both ends then hold an
// [Association], which is a net.Conn; what is below a net.Conn today can be put onto SCTP by changing the two calls:
//
//	c, err := transport.Dial(ctx, "10.0.0.7:5000,10.1.0.7:5000", nil)
//	l, err := transport.Listen(":5000", nil)
//
// [Listener] is a net.Listener, and [Dialer] has the DialContext that net/http and others ask for.
// An address is host:port, or several joined by commas. A host name stands for all its addresses. The port is the SCTP
// port and, unless [Config] says otherwise, the UDP port that SCTP is carried in.
//
// An association carries many streams that do not wait for each other: [Association.OpenStream] and
// [Association.AcceptStream] give [Stream] values, each a net.Conn of its own. The association as a net.Conn is its
// stream 0. [Stream.CloseWrite] ends one direction of a stream: the peer reads io.EOF behind the last byte. Once both
// directions have ended, the stream's number is used again. When all streams are in use, the peer is asked for more.
//
// # Messages
//
// Below Read and Write are messages. [Stream.WriteMessage] sends one with its bounds and [MessageOptions]: payload protocol
// identifier, in order or not, how long or how often delivery is tried, what paths it takes. [Stream.ReadMessage] reads one
// whole, or in pieces if it is larger than the memory given. Which stream a message travels on can be a program's own choice
// with [Association.Stream], and [Config].AllStreams lets one loop read them all. What could not be delivered comes back by
// [Association.Undelivered].
//
// # Paths
//
// A path is a pair of a local and a peer address. Data takes one path, the primary one as long as it is well, and the
// others are watched with heartbeats; when the path falls silent, data goes on over another within a few round trips.
// [Association.Paths] shows them, [Association.Events] tells what happens to them, [Association.SetPrimary] prefers one.
// That is the policy [Failover]. [Redundant] sends everything over several paths at once, so that the loss of one costs no
// time at all, and [LowestLatency] takes the path with the shortest round trip; each can be set for all
// ([Config].Policy), for a stream ([Stream.SetPolicy]) and for a message.
//
// # Ends
//
// [Association.Close] sends what was written, ends the association in order and waits for the peer's word that it has
// everything; after [Config].Linger it gives up and says so. [Association.Shutdown] does the same under a context and
// lets the program read on, [Association.Abort] ends at once. A peer's orderly end is io.EOF behind the last byte. An
// abort or a lost peer is an [AssociationError], which says what was seen on which path and how much was not delivered.
//
// # Defaults
//
// A nil *[Config] means the defaults, which suit failover within tens of milliseconds on local networks and need no
// tuning elsewhere. [RFC9260] returns the values and the behaviour of the RFC alone. [Association.SetParameters],
// [Association.SetHeartbeat] and [Association.SetPathMTU] change what can be changed while an association lives.
//
// Who knows the sockets API of SCTP (RFC 6458) finds its names in docs/RFC6458.md of the module, each with what it is here.
package transport
