// Package rules is what a reservation does to the counts it was admitted to, as pure functions over rows. A store that
// keeps its books elsewhere loads the rows that an operation touches, applies it here, and writes them back, all in one
// transaction:
//
//	load row and counts -> Check, Admit | Settle, Charge, Void, Release, Renew, TrueUp, Expire -> write back, commit
//
// A reservation that was taken from another brings that along, as its Of: what it does not use returns there.
//
// The answer that is handed in carries the time of the operation, Answer.Now, and a rolling count is brought to it before
// anything else.
//
// Nothing here reads a clock, waits or fails half-way: an operation that answers an error has changed nothing. Rows are not
// safe for concurrent use; the transaction that loaded them owns them, and one count is one [Count], whoever links to it. The memory store of package budget follows the same
// rules in a form of its own, and budgettest holds all of them to it.
package rules
