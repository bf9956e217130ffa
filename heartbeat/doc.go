// Package heartbeat tells whether a network path is alive.
//
// It is the failure detector of SCTP (RFC 9260 section 8) with the potentially-failed state of RFC 7829, cut loose from
// SCTP: anything that can send a small question along a path and recognise the answer can use it. It sends nothing
// itself, reads no clock, starts no goroutine and draws no random numbers. All of these come in as arguments, so an hour
// of a path's life is a few lines of a test.
//
// # The four states
//
// A [Monitor] holds the health of one path, in one of four states:
//
//   - [Unconfirmed]: somebody said the path exists; nothing has proved it. It is probed and carries nothing else.
//   - [Active]: it answers.
//   - [PotentiallyFailed]: there is cause for doubt. Traffic should go elsewhere while there is an elsewhere, and the path
//     is probed once per timeout until it has answered often enough or failed for good.
//   - [Inactive]: it has not answered many times in a row, or the local link is gone. It is asked now and then.
//
// # Driving a Monitor
//
// The owner has the path's retransmission timeout (the RTO, with its backoff) and a source of random numbers, and
// follows three rules.
//
// First, it sleeps until [Monitor.Next] and then calls
//
//	v := m.Expire(now, rto)   // questions that have found no answer in time
//	if v.Counted { rto.Backoff() }
//	if m.Due(now) {
//		nonce := random64()
//		if err := send(path, nonce); err != nil {
//			v = m.SendFailed(now)
//		} else {
//			m.Sent(now, nonce, m.Purpose(), rto, randomFloat())
//		}
//	}
//
// Second, when an answer with a nonce arrives, by whichever way, it offers the nonce to its monitors with [Monitor.Ack].
// The one that sent it gives the round-trip time, measured from a send time that never left this machine.
//
// Third, it tells what else it learns: [Monitor.DataAcked] and [Monitor.DataTimeout] about its traffic,
// [Monitor.DataSent] and [Monitor.Used] about its activity, [Monitor.Suspect] when a faster detector has a doubt,
// [Monitor.SendFailed] and [Monitor.Fault] for what the local system reports.
//
// Each of these returns a [Verdict], and a Verdict that has Changed is the only way a path's state ever moves.
//
// # Returning
//
// A path that failed comes back after [Config.ReturnAcks] answers in a row, and each further failure within
// [Config.FlapMemory] doubles that number up to [Config.MaxReturnAcks], so that a path that goes up and down is not
// returned to at each up. Data that was acknowledged, having travelled by this path alone, brings it back at once.
package heartbeat
