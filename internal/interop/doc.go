// Package interop tries the library against SCTP stacks that are not ours, over UDP encapsulation and in both roles, and has
// everything that passes read by a dissector that is not ours either. It holds tests only.
//
//	pion/sctp     in process, over a UDP socket that can lose packets
//	usrsctp       the example programs of Debian's libusrsctp-examples, and testdata/peer.c linked with libusrsctp-dev for
//	              what those cannot do: several addresses, in network namespaces, over paths that are cut and lose packets;
//	              restarts, aborts, thousands of streams, streams that end and are added, messages given up, I-DATA
//	tshark        every capture of every test: no malformed packet, no wrong checksum, no expert error
//
// Each test moves data both ways, where the peer's program can, and compares it. What is missing on the machine is named,
// and the test skipped. MULTIHOME_CAPTURES names a directory in which the captures are kept.
package interop
