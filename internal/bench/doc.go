// Command bench measures this library beside its neighbours: pion/sctp, quic-go, the kernel's TCP and MPTCP, and plain UDP,
// all on one machine in one run, with both ends in one process.
//
//	go run . -rounds 5                        # everything; as root also between network namespaces, MTU 1500
//	go run . -only messages -transports multihome,pion -cpuprofile cpu.prof
//	go run . -json out.json
//
// The transports take turns within each round, in an order that moves on from round to round, so that what the machine does
// beside meets all of them. What is compared is the ratio within a round; its median over the rounds is reported with the
// least and the most, and the raw figures stand beside it. Nothing passes or fails on a time.
//
// It is a module of its own, so that no user of the library inherits quic-go.
//
// Every transport runs with its defaults, but for these. TCP and MPTCP use CUBIC in all places, whatever the system's default
// is. pion/sctp gets a pair of connected UDP sockets with 2 MiB of buffers each, and its writer waits while more than 1 MiB
// is not acknowledged, for its own never does. quic-go encrypts, the others do not; its certificate is checked by nobody.
package main
