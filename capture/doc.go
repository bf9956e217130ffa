// Package capture writes what sockets send and receive as pcapng files, which Wireshark, tshark and tcpdump read. It is
// made to be left on in production: packets are copied into bounded memory and written by a goroutine of their own, so a
// slow disk loses packets of the capture, counted, and never holds up an association; and what is written is bounded too.
//
//	c, err := capture.Rotate("/var/log/link.pcapng", nil)
//	...
//	a, err := transport.Dial(ctx, "10.0.0.7:5000,10.1.0.7:5000", &transport.Config{Capture: c})
//	...
//	err = c.Close()
//
// Several dials and listeners may share one capture.
//
// # What a reader sees
//
// Dissectors know SCTP in UDP (RFC 6951) by one port alone, 9899, and take everything else for unknown data. So that a
// capture opens without help whatever the ports are, packets are written as SCTP directly over IP (protocol 132), and the
// UDP ports they really went by stand in a comment on the first packet of each pair of addresses, and, for our side, in the
// name of the interface. Options.UDP keeps the UDP headers instead; then "tshark -d udp.port==PORT,sctp", or Decode As in
// Wireshark, is needed for other ports than 9899.
//
// The IP and UDP headers are made up, as a program does not see the real ones: lengths, addresses, ports and checksums are
// right; the hop limit is 64, the traffic class 0.
//
// A packet is written as sent before the socket takes it: what a full socket or an unreachable network refuses is in the
// capture too, as it counts as sent and lost for the association. Received packets are written whatever becomes of them.
package capture
