package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/config"
)

// A command of this program asks the node that runs on the same machine, or in the same
// container, over a Unix socket in the node's data directory. One connection carries
// one question, a line of JSON, and the lines of its answer. Who may ask is whoever runs
// the node: the socket is for its user alone, and the kernel says who called.

// controlName is the socket's name in the data directory.
const controlName = "control.sock"

const (
	// maxSocketPath is what a socket's address has room for on Linux and elsewhere.
	maxSocketPath = 103
	// questionTime is how long a caller may take to say what he wants.
	questionTime = 5 * time.Second
	// maxTimeout is the longest that a question may be worked on.
	maxTimeout = 10 * time.Minute
	// answerTime is what an answer may take beyond that.
	answerTime = 5 * time.Second
)

// controlQuestion is what a command asks.
type controlQuestion struct {
	Do      string `json:"do"`
	Timeout int64  `json:"timeout_ms"`
}

// What can be asked.
const (
	doDrain   = "drain"
	doUndrain = "undrain"
)

// controlLine is a line of an answer. The last has the exit code.
type controlLine struct {
	Say  string `json:"say,omitempty"`
	Code *int   `json:"code,omitempty"`
}

// controlAt calls do with a path to the socket in a directory that is short enough for
// the system: that of a long directory goes by way of /proc.
func controlAt(dir string, do func(path string) error) error {
	path := filepath.Join(dir, controlName)
	if len(path) <= maxSocketPath {
		return do(path)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("%s is too long for a socket: move node.data_dir", path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), controlName))
}

// openControl makes the socket. What is there is of a process before: the data
// directory is this one's.
func (g *gateway) openControl() error {
	err := controlAt(string(g.cfg.Node.DataDir), func(path string) (err error) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // by a path that may be of this moment only
		g.control = l
		g.close = append(g.close, func() error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		return fmt.Errorf("the socket for commands in node.data_dir: %w", err)
	}
	return nil
}

// serveControl answers commands until ctx ends.
func (g *gateway) serveControl(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = g.control.Close() })
	defer stop()
	for {
		conn, err := g.control.AcceptUnix()
		switch {
		case err == nil:
			go g.answerControl(ctx, conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			g.log.Warn("the socket for commands", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (g *gateway) answerControl(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	if err := sameUser(conn); err != nil {
		g.log.Warn("a command was refused", "err", err)
		return
	}
	var q controlQuestion
	_ = conn.SetDeadline(time.Now().Add(questionTime))
	line, err := bufio.NewReaderSize(conn, 1<<10).ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &q) != nil || q.Timeout < 0 || q.Timeout > maxTimeout.Milliseconds() {
		return
	}
	timeout := time.Duration(q.Timeout) * time.Millisecond
	_ = conn.SetDeadline(time.Now().Add(timeout + answerTime))
	answer := json.NewEncoder(conn)
	say := func(format string, args ...any) {
		_ = answer.Encode(controlLine{Say: fmt.Sprintf(format, args...)}) // who asked may have gone; it is done all the same
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code := exitUsage
	switch q.Do {
	case doDrain:
		code = g.drain(ctx, say)
	case doUndrain:
		code = g.undrain(ctx, say)
	default:
		say("the node that runs knows no command %q: it is of another version", q.Do)
	}
	_ = answer.Encode(controlLine{Code: &code})
}

// askNode asks the node that runs, prints what it says, and returns the exit code.
func askNode(c *cli.Context, dir string, q controlQuestion) (code int, err error) {
	var conn net.Conn
	err = controlAt(dir, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(c.Context, "unix", path)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("no node runs with data directory %s, or it isn't yours: %w", dir, err)
	}
	defer conn.Close()
	defer context.AfterFunc(c.Context, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(time.Duration(q.Timeout)*time.Millisecond + 2*answerTime))
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return 0, fmt.Errorf("the node can't be asked: %w", err)
	}
	for answer := json.NewDecoder(conn); ; {
		var l controlLine
		if err := answer.Decode(&l); err != nil {
			return 0, fmt.Errorf("the node didn't say how it ended; it may have stopped: %w", err)
		}
		if l.Say != "" {
			fmt.Fprintln(c.App.Writer, l.Say)
		}
		if l.Code != nil {
			return *l.Code, nil
		}
	}
}

// dataDirOf is where the node keeps its data that a command means.
func dataDirOf(c *cli.Context) (string, error) {
	file, dir := c.String("config"), c.String("data-dir")
	switch {
	case c.Args().Present():
		return "", mistake{fmt.Errorf("%s takes flags only, not %q", c.Command.Name, c.Args().First())}
	case (file == "") == (dir == ""):
		return "", mistake{errors.New("say which node: --config FILE, or --data-dir DIR")}
	case dir != "":
		return dir, nil
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		return "", mistake{err}
	}
	return string(cfg.Node.DataDir), nil
}
