package group

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestOperationsGatherBehindACommitAndGiveBackFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		var batches [][]int
		q := &Queue[int]{Batch: func(take func() []*Task[int]) error {
			var whats []int
			for _, task := range take() {
				whats = append(whats, task.What)
				defer task.Finish()
			}
			batches = append(batches, whats)
			<-goOn
			return nil
		}}
		var wg sync.WaitGroup
		for i := range 2 * Most {
			rank := Reserving
			if i == Most-1 {
				rank = Settling
			}
			wg.Go(func() {
				if err := q.Do(t.Context(), rank, i); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if q.Waiting() != 2*Most-1 {
			t.Errorf("%d wait", q.Waiting())
		}
		close(goOn)
		wg.Wait()
		if len(batches) != 3 || !slices.Equal(batches[0], []int{0}) || len(batches[1]) != Most || batches[1][0] != Most-1 || batches[1][1] != 1 || batches[1][Most-1] != Most || len(batches[2]) != Most-1 {
			t.Errorf("%v", batches)
		}
	})
}

func TestWhoLeavesBeforeItWasTakenHasDoneNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, did := make(chan struct{}), 0
		q := &Queue[int]{Store: "a store", Batch: func(take func() []*Task[int]) error {
			tasks := take()
			<-goOn
			for _, task := range tasks {
				did += task.What
				task.Finish()
			}
			return nil
		}}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { // taken, so it is waited for
			if err := q.Do(ctx, Reserving, 1); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := q.Do(ctx, Reserving, 10); !errors.Is(err, context.Canceled) || err.Error() != "a store: nothing was done: context canceled" {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if q.Close(); did != 1 {
			t.Errorf("did %d", did)
		}
	})
}

func TestCloseWaitsForWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, failed, over := make(chan struct{}), errors.New("no disk"), errors.New("closed")
		q := &Queue[int]{Closed: over, Batch: func(func() []*Task[int]) error { <-goOn; return failed }}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := q.Do(t.Context(), Reserving, 1); err != failed {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		var closed atomic.Int64
		for range 2 {
			wg.Go(func() { q.Close(); closed.Add(1) })
		}
		synctest.Wait()
		if closed.Load() != 0 {
			t.Error("closed before what was accepted was done")
		}
		if err := q.Do(t.Context(), Reserving, 1); err != over {
			t.Error(err)
		}
		close(goOn)
		wg.Wait()
		q.Close()
	})
}
