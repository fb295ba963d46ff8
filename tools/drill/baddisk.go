package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// badDisk is strace, which makes each fsync of a node take longer.
type badDisk struct {
	*process
	from  int64 // where in its log it begins
	delay time.Duration
}

// delayDisk returns when strace has got hold of the process.
func delayDisk(ctx context.Context, dir string, p *process, d time.Duration) (*badDisk, error) {
	name := p.name + "-strace"
	bad := &badDisk{delay: d}
	if i, err := os.Stat(filepath.Join(dir, name+".log")); err == nil {
		bad.from = i.Size()
	}
	var err error
	bad.process, err = start(dir, name, "strace", "-f", "-p", fmt.Sprint(p.cmd.Process.Pid), "-e", "trace=fsync,fdatasync",
		"-e", fmt.Sprintf("inject=fsync,fdatasync:delay_enter=%d", d.Microseconds()))
	if err != nil {
		return nil, err
	}
	attached := wait(ctx, time.Millisecond, func() bool { return bad.ended() || bad.said(" attached") })
	if !attached || bad.ended() {
		bad.stop()
		return nil, errors.Join(fmt.Errorf("strace can't attach to %s: %s", p.name, bad.lastWords()), context.Cause(ctx))
	}
	return bad, nil
}

// ending is how long a node that meets a hung disk may take to end.
const ending = 20 * time.Second

// awaitExit waits until the node exits. It isn't gone then: as with a real disk,
// the threads that wait for it don't end before it answers.
func (b *badDisk) awaitExit(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, ending)
	defer cancel()
	if !wait(ctx, time.Millisecond, func() bool { return p.ended() || b.said("+++ exited with ") }) {
		return fmt.Errorf("%s does not end though its disk hangs", p.name)
	}
	return nil
}

// said tells whether strace has said something this time.
func (b *badDisk) said(words string) bool {
	f, err := os.Open(b.log)
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := f.Seek(b.from, io.SeekStart); err != nil {
		return false
	}
	all, err := io.ReadAll(f)
	return err == nil && strings.Contains(string(all), words)
}
