package main

import (
	"os"
	"path/filepath"
	"time"
)

// syncs measures what one fsync of a small append costs on this disk: no
// single commit can be faster.
func (b *bench) syncs() error {
	var runs [][]sample
	for range b.runs {
		f, err := os.Create(filepath.Join(b.dir, "sync"))
		if err != nil {
			return err
		}
		block := make([]byte, 512)
		var took []time.Duration
		for begin := time.Now(); time.Since(begin) < b.time/2; {
			one := time.Now()
			_, err := f.Write(block)
			if err == nil {
				err = f.Sync()
			}
			if err != nil {
				f.Close()
				return err
			}
			took = append(took, time.Since(one))
		}
		if err := f.Close(); err != nil {
			return err
		}
		runs = append(runs, []sample{
			{"p50", "ms", milliseconds(quantile(took, 0.5))},
			{"p99", "ms", milliseconds(quantile(took, 0.99))},
		})
	}
	b.report(figure("disk", 0, "append 512 bytes, fsync", runs))
	return nil
}
