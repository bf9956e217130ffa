// Package hostile holds tests of what the library bears: packets that nobody should send, floods, insane peers, limits that
// are reached, and many associations that do nothing. It has no code of its own.
//
// storm_test.go drives two pure endpoints on virtual time and throws mutated packets between them, flood_test.go measures
// what strangers get for their INITs, the others go through package transport over the loopback interface.
package hostile
