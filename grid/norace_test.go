//go:build !race

package grid

// Raced tells tests that the race detector watches.
const Raced = false
