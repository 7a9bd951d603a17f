package sqlitestore

import "time"

// ReleaseOnExpiry makes a store break law 1 the way others do: a lease that runs out gives its reservation back.
func ReleaseOnExpiry(s *Store) { s.releases = true }

// SetClock gives the store another clock.
func SetClock(s *Store, clock func() time.Time) { s.clock = clock }
