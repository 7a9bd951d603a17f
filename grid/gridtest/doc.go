// Package gridtest is The Grid in a test binary.
package gridtest
