package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// tending is when ended reservations are to be forgotten.
type tending struct {
	ended int64 // by this process, since it last looked how many are kept
}

func (s *Store) tend(ctx context.Context, conn *pgxpool.Conn, a *account) {}
