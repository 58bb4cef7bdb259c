package spool

import (
	"context"
	"fmt"
	"testing"
)

// What one record costs on the way to the queue, without the disk.
func BenchmarkAppend(b *testing.B) {
	l, err := open(Options{Dir: simDir, FS: newSimFS(1), MaxBytes: 1 << 40, SegmentBytes: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 200)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append([16]byte{1}, payload); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 0 {
			g, queue := l.take()
			l.settle(g, queue)
		}
	}
}

// Records that are durable per second, for so many callers at once.
func BenchmarkDurable(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("%d", callers), func(b *testing.B) {
			l, err := Open(Options{Dir: b.TempDir(), MaxBytes: 16 << 30, SegmentBytes: 16 << 20})
			if err != nil {
				b.Fatal(err)
			}
			payload := make([]byte, 200)
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ticket, err := l.Append([16]byte{1}, payload)
					if err == nil {
						err = ticket.Wait(context.Background())
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(l.Stats().Appended)/float64(max(1, l.Stats().Syncs)), "records/sync")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// How long a start takes with a full log of a gigabyte.
func BenchmarkOpen_1GB(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	l, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 200)
	var last Ticket
	for i := uint64(0); ; i++ {
		ticket, err := l.Append(idFor(i), payload)
		if err != nil && l.Stats().Bytes > 1<<30-1<<20 {
			break
		}
		if err == nil {
			last = ticket
		}
		if i%1000 == 0 {
			if err := last.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	records := l.Stats().Records
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := Open(o)
		if err != nil || l.Stats().Records < records {
			b.Fatal(err, l.Stats().Records, records)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(records), "records")
}
