package heartbeat_test

import (
	"fmt"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
)

// A monitor in the hands of its owner: a loop that sleeps until Next, and a network that answers for two seconds, is
// silent for three, and answers again. Time is only a variable here; a program would use a timer.
func ExampleMonitor() {
	cfg := heartbeat.DefaultConfig()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func(now time.Time) string { return fmt.Sprintf("%.2fs", now.Sub(start).Seconds()) }

	var m heartbeat.Monitor
	m.Init(&cfg, start, false)
	rto := 400 * time.Millisecond
	for nonce := uint64(1); ; nonce++ {
		now, ok := m.Next()
		if !ok || now.After(start.Add(8*time.Second)) {
			break
		}
		if v := m.Expire(now, rto); v.Counted {
			rto *= 2 // the owner's timeout backs off
			if v.Changed() {
				fmt.Println(clock(now), v)
			}
		}
		if !m.Due(now) {
			continue
		}
		m.Sent(now, nonce, m.Purpose(), rto, 0.5)
		if dark := now.After(start.Add(2*time.Second)) && now.Before(start.Add(5*time.Second)); dark {
			continue
		}
		now = now.Add(25 * time.Millisecond)
		if rtt, v, ok := m.Ack(now, nonce); ok {
			rto = max(3*rtt, 400*time.Millisecond)
			if v.Changed() {
				fmt.Println(clock(now), v)
			}
		}
	}
	// Output:
	// 0.03s Unconfirmed to Active (confirmed)
	// 3.23s Active to PotentiallyFailed (heartbeat timeouts)
	// 6.65s PotentiallyFailed to Active (heartbeat acknowledged)
}

// A detector of one's own, here one that doubts a path after a missed deadline of 60 ms, need not wait for timeouts.
func ExampleMonitor_Suspect() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var m heartbeat.Monitor
	m.Init(nil, now, true)

	now = now.Add(60 * time.Millisecond)
	fmt.Println(m.Suspect(now))
	fmt.Println("errors:", m.Errors(), "- heartbeat due:", m.Due(now))

	// The answer was merely slow: data that went by this path alone is acknowledged after all.
	fmt.Println(m.DataAcked(now.Add(5 * time.Millisecond)))
	// Output:
	// Active to PotentiallyFailed (probe verdict)
	// errors: 0 - heartbeat due: true
	// PotentiallyFailed to Active (data acknowledged)
}

// The standard's slower values, with one change.
func ExampleConfig() {
	cfg := heartbeat.RFC9260Config()
	cfg.PathMaxRetrans = 3
	fmt.Println(cfg.Check(), cfg.Interval)

	cfg.ReturnAcks = 0
	fmt.Println(cfg.Check())
	// Output:
	// <nil> 30s
	// heartbeat: bad configuration: ReturnAcks is 0, want 1 to 255
}

func ExampleState_CanMove() {
	fmt.Println(heartbeat.Active.CanMove(heartbeat.PotentiallyFailed))
	fmt.Println(heartbeat.Unconfirmed.CanMove(heartbeat.PotentiallyFailed))
	// Output:
	// true
	// false
}
