package budgettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// stopScope is what the processes spend for, and what is frozen.
var stopScope = budget.Scope{Kind: budget.ScopeTenant, Name: "acme"}

const stopProcesses = 4

// StopButton lets four processes spend through a store, freezes and unfreezes them by a ledger of its own, and wants that
// nothing is admitted that was asked for after Freeze had returned, that what was under way settles, and that all go on
// afterwards. It returns how long after the button was pressed the last process was told that something is admitted.
//
// start makes, without starting it, a process that calls [SpendUntilEOF] with the store and the file.
func StopButton(t *testing.T, store budget.Store, start func(file string) *exec.Cmd) time.Duration {
	t.Helper()
	return StopButtonWithin(t, store, 0, start)
}

// StopButtonWithin is [StopButton] for processes that may admit for that long after Freeze has returned, as those with
// slices do ([budget.Slice]).
func StopButtonWithin(t *testing.T, store budget.Store, within time.Duration, start func(file string) *exec.Cmd) time.Duration {
	t.Helper()
	ctx := t.Context()
	l, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{moneyCap(budget.Account(), 1<<50)}, Account: "stop"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var workers []*stopWorker
	for i := range stopProcesses {
		w := &stopWorker{file: filepath.Join(dir, strconv.Itoa(i))}
		w.cmd = start(w.file)
		w.cmd.Stderr = os.Stderr
		if w.stdin, err = w.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.stdin.Close(); _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
		workers = append(workers, w)
	}
	all := func(what string, seen func(*stopWorker) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			met := 0
			for _, w := range workers {
				w.read(t)
				if seen(w) {
					met++
				}
			}
			if met == len(workers) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d of %d processes", what, met, len(workers))
			}
		}
	}
	all("spending", func(w *stopWorker) bool { return len(w.grants) >= 20 })
	pressed := time.Now()
	if err := l.Freeze(ctx, stopScope, "a test", time.Time{}, "ann"); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	all("frozen", func(w *stopWorker) bool { return w.denied >= 5 })
	before := 0
	latest := time.Duration(0)
	for _, w := range workers {
		before += len(w.grants)
		for _, g := range w.grants {
			if late := g.asked.Sub(frozen); late > within {
				t.Errorf("admitted, though it was asked for %v after the freeze", late)
			}
			latest = max(latest, g.got.Sub(pressed))
		}
		w.grants = nil
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		open, err := l.OpenReservations(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		// A slice stays; what is open within it is the process's own.
		open = slices.DeleteFunc(open, func(r budget.Reservation) bool { return within > 0 && strings.HasPrefix(r.ID, "slice/") })
		if len(open) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls that were under way never settled", len(open))
		}
	}
	if err := l.Unfreeze(ctx, stopScope, "ann"); err != nil {
		t.Fatal(err)
	}
	all("thawed", func(w *stopWorker) bool { return len(w.grants) >= 5 })
	spent := int64(0)
	for _, w := range workers {
		if err := w.stdin.Close(); err != nil {
			t.Error(err)
		}
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("a process ended with %v", err)
		}
		w.read(t)
		spent += int64(len(w.grants))
	}
	spent += int64(before)
	states, err := l.Snapshot(ctx)
	if err != nil || len(states) != 1 || states[0].Settled != spent || states[0].Held != 0 {
		t.Errorf("the processes spent %d, the ledger says %+v, %v", spent, states, err)
	}
	return latest
}

type stopWorker struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	file   string
	offset int64
	grants []stopGrant
	denied int
}

type stopGrant struct{ asked, got time.Time }

// read takes in what the process wrote since.
func (w *stopWorker) read(t *testing.T) {
	t.Helper()
	f, err := os.Open(w.file)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(w.offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return // the rest of the line is still to come
		}
		w.offset += int64(len(line))
		if strings.TrimSpace(line) == "frozen" {
			w.denied++
			continue
		}
		var asked, got int64
		if _, err := fmt.Sscan(line, &asked, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		w.grants = append(w.grants, stopGrant{time.Unix(0, asked), time.Unix(0, got)})
	}
}

// SpendUntilEOF is the process of [StopButton]: it spends through the store until its input ends, and writes down when.
func SpendUntilEOF(store budget.Store, file string, input io.Reader) error {
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	ctx := context.Background()
	l, err := budget.Open(ctx, budget.Config{Store: store, Account: "stop"})
	if err != nil {
		return err
	}
	told := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, input)
		close(told)
	}()
	var wg sync.WaitGroup
	failed := make(chan error, 4)
	for caller := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-told:
					return
				default:
				}
				if err := spendOnce(ctx, l, out, fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, n)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func spendOnce(ctx context.Context, l *budget.Ledger, out io.Writer, id string) error {
	asked := time.Now()
	_, err := l.Reserve(ctx, budget.Request{ID: id, Scopes: []budget.Scope{stopScope}, Amounts: money(1)})
	if errors.Is(err, budget.ErrFrozen) {
		time.Sleep(2 * time.Millisecond)
		_, err = fmt.Fprintln(out, "frozen")
		return err
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, asked.UnixNano(), time.Now().UnixNano()); err != nil {
		return err
	}
	time.Sleep(5 * time.Millisecond) // the call
	_, err = l.Settle(ctx, id, money(1))
	return err
}
