// Package redisstore keeps the counts and reservations of package budget in Redis or Valkey, so that any number of
// processes on any number of machines hold one cap together.
//
//	Reserve, Settle, ... -> queue of the account -> one script call for all that wait (at most 128) -> answers
//
// While a call is under way, later operations gather and go out together, as a second call or after the first: an idle store
// adds no wait, a busy one commits in groups. Inside a group what gives money back goes before what asks for it. The whole
// of a group is one atomic step of the server, by the server's clock, which is not let run backwards.
//
// All keys of an account carry one hash tag and are declared, so the store works on a cluster; an account lives on one
// shard. Sums are exact below 2^53: [MaxLimit] is $9.007 million of money per cap and window.
//
// What Redis acknowledged can be lost: with appendfsync everysec the last second before a power cut, in a failover what
// was not yet replicated, with FLUSHALL everything. The store notices, because every answer carries the epoch of the books
// and the number of their last change: it refuses new reservations for a while ([ErrLearning]) and gives back to the books
// what its process still knows. Where no spending may be forgotten, use appendfsync always on a server that does not fail
// over, or the PostgreSQL store.
package redisstore
