package field

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// record sizes as in the figures others publish: 1 KiB each millisecond.
const (
	recordSize  = 1024
	recordEvery = time.Millisecond
)

// epoch is what the stamps in records count from. Stamps compare within one process only.
var epoch = time.Now()

// sendRecords writes numbered and stamped records in step, count of them, and catches up when it is late.
func sendRecords(w io.Writer, count int) error {
	return sendWhile(w, func() bool { count--; return count >= 0 })
}

// sendWhile does the same for as long as more says so.
func sendWhile(w io.Writer, more func() bool) error {
	rec := make([]byte, recordSize)
	for i := range rec {
		rec[i] = byte(i)
	}
	start := time.Now()
	for i := 0; more(); i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i) * recordEvery)))
		binary.BigEndian.PutUint64(rec, uint64(i))
		binary.BigEndian.PutUint64(rec[8:], uint64(time.Since(epoch)))
		if _, err := w.Write(rec); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

// arrival is when a record was written and when it was read.
type arrival struct{ sent, read time.Duration }

// receiveRecords reads records and checks that each comes once and in order.
func receiveRecords(r io.Reader, count int) ([]arrival, error) {
	out := make([]arrival, 0, count)
	rec := make([]byte, recordSize)
	for i := range count {
		if _, err := io.ReadFull(r, rec); err != nil {
			return out, fmt.Errorf("record %d: %w", i, err)
		}
		if n := binary.BigEndian.Uint64(rec); n != uint64(i) {
			return out, fmt.Errorf("record %d came in place of record %d", n, i)
		}
		for k := 16; k < recordSize; k++ {
			if rec[k] != byte(k) {
				return out, fmt.Errorf("record %d is damaged at byte %d", i, k)
			}
		}
		out = append(out, arrival{time.Duration(binary.BigEndian.Uint64(rec[8:])), time.Since(epoch)})
	}
	return out, nil
}

// figures are the longest times between two arrivals and from writing to reading a record, before a fault and after, and
// between two records being written after it: the gap that the machine itself made. shutdown is how long the orderly end
// took, a second after the fault.
type figures struct {
	gap, delay             time.Duration
	gapBefore, delayBefore time.Duration
	pause, shutdown        time.Duration
}

// measure splits arrivals at the fault and leaves out what came before an instant.
func measure(as []arrival, from, fault time.Duration) (f figures) {
	for i := 1; i < len(as); i++ {
		gap, delay := as[i].read-as[i-1].read, as[i].read-as[i].sent
		switch {
		case as[i].read >= fault:
			f.gap, f.delay = max(f.gap, gap), max(f.delay, delay)
			f.pause = max(f.pause, as[i].sent-as[i-1].sent)
		case as[i].read >= from:
			f.gapBefore, f.delayBefore = max(f.gapBefore, gap), max(f.delayBefore, delay)
		}
	}
	return f
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// String prints milliseconds.
func (f figures) String() string {
	return fmt.Sprintf("gap %.1f ms, delay %.1f ms; before the fault %.1f and %.1f ms; the sender's own longest pause %.1f ms; shutdown %.1f ms",
		ms(f.gap), ms(f.delay), ms(f.gapBefore), ms(f.delayBefore), ms(f.pause), ms(f.shutdown))
}
