package pgstore

import (
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
)

// task is one operation. What it needs is said beforehand, so that everything a batch needs is locked in order.
type task struct {
	rank   group.Rank
	alone  bool              // it changes what others read without locking: nothing else may be under way in the account
	id     string            // the reservation it is about
	op     *budget.ReserveOp // what it wants to reserve
	sweep  int               // how many leases it may end
	forget int               // how many ended reservations it may forget
	run    func(*books) error

	err error
}

// queue is what waits for the next batch of an account.
type queue = group.Queue[*task]
