// Package pgstore keeps the counts and reservations of package budget in PostgreSQL, so that any number of processes on any
// number of machines hold one cap together, and nothing that was answered is forgotten.
//
//	Reserve, Settle ... -> queue of the account -> BEGIN -> lock reservations, then counts, each in order -> settle first,
//	                          ^                                         then reserve -> write rows, COMMIT -> answers
//	                          '---- whatever came meanwhile goes out together, at most 128
//
// A lone caller waits for three round trips and one flush of the server's log; many share them. Batches of several
// processes run side by side as far as they touch other counts, and wait for each other where they share one. Time is the
// server's.
//
// Any doubt is an error that a [budget.Ledger] reports as [budget.ErrUnavailable], and nothing is dispatched: a server that
// is away or slow, a newer schema, a server that has forgotten what it had confirmed ([ErrForgot]). README.md says what is
// lost in which failure.
package pgstore
