//go:build race

package grid

// Raced tells tests that the race detector watches. It makes everything many times
// slower, and a crowd of a thousand shows it as much as one of ten thousand: what is
// counted is counted in full without it.
const Raced = true
