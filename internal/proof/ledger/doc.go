// Package ledger proves what every store of package budget promises, from outside: rapid compares histories of operations
// with a reference that a person can check by reading, porcupine looks for an order in which concurrent operations could have
// happened one after another, and processes share caps. Short forms run with go test; GRIDLOOP_LONG=1 runs the long ones.
package ledger
