package sqlitestore

import (
	"context"
	"fmt"
	"time"

	"github.com/gridloop/gridloop/budget/internal/group"
)

// ReleaseOnExpiry makes a store break law 1 the way others do: a lease that runs out gives its reservation back.
func ReleaseOnExpiry(s *Store) { s.releases = true }

// SetClock gives the store another clock.
func SetClock(s *Store, clock func() time.Time) { s.clock = clock }

// Schema is the newest schema.
func Schema() int { return len(migrations) }

// Ask runs a statement on the writing connection, alone or within somebody's batch, and answers its last value.
func Ask(ctx context.Context, s *Store, query string) (answer string, err error) {
	err = s.do(ctx, group.Settling, func(b *books) error {
		return b.conn.query(func(row columns) error {
			answer = fmt.Sprint(row[len(row)-1])
			return nil
		}, query)
	})
	return answer, err
}

// Raw is a connection that knows nothing of stores.
type Raw struct{ *conn }

// Dial makes one.
func Dial(path string) (Raw, error) {
	c, err := dial(path)
	return Raw{c}, err
}

// Exec runs a statement.
func (r Raw) Exec(query string) error { return r.exec(query) }

// Number is the only value of a query.
func (r Raw) Number(query string) (int64, error) {
	n, _, err := r.number(query)
	return n, err
}

// Close ends the connection.
func (r Raw) Close() error { return r.close() }

// Migrate brings a file up to date and then takes it further, as a later version would.
func Migrate(r Raw, further ...[]string) error {
	return migrate(r.conn, append(append([][]string(nil), migrations...), further...))
}
