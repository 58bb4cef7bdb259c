package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is a server under measurement.
type process struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

// pinned returns the command so that it runs on one core.
func pinned(ctx context.Context, core int, name string, args ...string) *exec.Cmd {
	if path, err := exec.LookPath("taskset"); err == nil {
		return exec.CommandContext(ctx, path, append([]string{"-c", strconv.Itoa(core), name}, args...)...)
	}
	return exec.CommandContext(ctx, name, args...)
}

// startPinned starts a server on core 0.
func startPinned(ctx context.Context, name string, args ...string) (*process, error) {
	return started(pinned(ctx, 0, name, args...), "GOMAXPROCS=1")
}

func started(cmd *exec.Cmd, env ...string) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	return p, cmd.Start()
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// cpu is the time that all threads of the process have spent on a core: user and system.
func (p *process) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("read the CPU time of process %d: it needs Linux's /proc", p.cmd.Process.Pid)
	}
	var sum time.Duration
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has just ended
		}
		ns, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		sum += time.Duration(ns)
	}
	return sum, nil
}

// rss is the resident memory of the process in bytes.
func (p *process) rss() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// waitFor polls until ready says so; it fails when the process ends or a minute is over.
func (p *process) waitFor(ready func() bool) error {
	for range 60000 {
		if ready() {
			return nil
		}
		if p.cmd.Process.Signal(syscall.Signal(0)) != nil {
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.log.String())
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s is not ready after a minute: %s", p.cmd.Path, p.log.String())
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func listening(addr string) func() bool {
	return func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
}
