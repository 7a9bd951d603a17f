// Package sqlitestore keeps the counts of package budget in one SQLite file.
package sqlitestore
