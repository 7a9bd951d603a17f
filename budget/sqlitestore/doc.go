// Package sqlitestore keeps the counts of package budget in one SQLite file: caps that outlive the process, for any number
// of processes on one machine, with no server. An operation is answered when its commit is on the disk.
//
//	Reserve, Settle ... --> queue --> BEGIN IMMEDIATE -> settle first, then reserve -> write rows -> COMMIT, fsync --> answers
//	                          ^                                                                        |
//	                          '------------ whatever came meanwhile goes out together, at most 128 ----'
//
// A lone caller waits for one fsync; many share it. The rows that a transaction touches are kept in memory, for as long as
// SQLite says that no other process has written. Whoever looks (Snapshot, Open, Top) reads beside the writer and holds
// nobody up.
//
// What the file cannot prove is refused: a locked, replaced, damaged or full file, and one of a newer schema, is an error
// that a [budget.Ledger] reports as [budget.ErrUnavailable], and nothing is dispatched. README.md says what is lost in which
// failure.
package sqlitestore
