//go:build race

package sqlitestore_test

// racing says that the race detector makes everything slow.
const racing = true
