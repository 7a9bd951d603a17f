//go:build race

package pgstore

// racing says that the race detector makes everything slow.
const racing = true
