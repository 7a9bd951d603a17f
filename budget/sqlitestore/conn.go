package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one connection with its prepared statements. database/sql would add a pool, a goroutine and a microsecond to
// every statement; a store needs one connection that writes and one that reads. Not safe for concurrent use.
type conn struct {
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
}

func dial(path string) (*conn, error) {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a drive letter
	}
	// A Driver of our own, so that nothing the program registered on the shared one runs here.
	raw, err := new(sqlite.Driver).Open("file://" + (&url.URL{Path: slashed}).EscapedPath())
	if err != nil {
		return nil, err
	}
	return &conn{raw: raw, stmts: map[string]driver.Stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

func (c *conn) prepare(query string) (driver.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, v := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args
}

// exec runs a statement that answers nothing. Arguments are int64, string or nil.
func (c *conn) exec(query string, args ...driver.Value) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args))
	return err
}

// query calls each with every row of the answer; the row is reused.
func (c *conn) query(each func(row columns) error, query string, args ...driver.Value) (err error) {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), c.bind(args))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := len(rows.Columns())
	values := make([]driver.Value, n)
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(values); err != nil {
			return err
		}
	}
}

// number answers the single integer of a query, false if there is no row or it is NULL.
func (c *conn) number(query string, args ...driver.Value) (n int64, ok bool, err error) {
	err = c.query(func(row columns) error {
		n, ok = row[0].(int64)
		return nil
	}, query, args...)
	return n, ok, err
}

// columns are the values of one row. A value of another type than the schema says reads as zero; STRICT tables have none.
type columns []driver.Value

func (c columns) int(i int) int64 {
	n, _ := c[i].(int64)
	return n
}

func (c columns) text(i int) string {
	s, _ := c[i].(string)
	return s
}

func (c columns) null(i int) bool { return c[i] == nil }

// busy reports that another connection is writing and nothing was done.
func busy(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// pragma sets one and checks that it took.
func (c *conn) pragma(name, value, want string) error {
	if err := c.exec("PRAGMA " + name + " = " + value); err != nil {
		return err
	}
	got := ""
	err := c.query(func(row columns) error {
		got = fmt.Sprint(row[0])
		return nil
	}, "PRAGMA "+name)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %q and cannot be made %q: keep the file on a local disk", name, got, want)
	}
	return err
}
