// Package field tries the whole stack where it is used: two processes or two hosts with several paths between them, over
// real kernels' paths (package netlab) that are cut while data flows. It holds tests only.
//
//	go test ./internal/field                                                 everything; needs root for most of it
//	go test -run Gap -v ./internal/field                                     how long data stands still after each fault, once
//	go test -run '^$' -bench Gap -benchtime 5x ./internal/field              the same, the median of five
//
// What is asserted is what must hold on any machine: nothing lost, nothing twice, nothing in the wrong order, and the
// association alive. Times are logged and never judged; bounds on time are tested on virtual time.
package field
