package budget

// ReleaseOnExpiry makes a store break law 1 the way others do: a lease that runs out gives its reservation back.
func ReleaseOnExpiry(m *Memory) { m.releases = true }

// Thorough has a store take no short cut for any call.
func Thorough(m *Memory) { m.thorough = true }

// Sizes are what an account of a store keeps.
type Sizes struct{ Rows, Idle, Tabs, Counts, Runs, Caps, Anchors, Closed, Freezes, Leases int }

// SizesOf looks into a store.
func SizesOf(m *Memory, account string) Sizes {
	b := m.open(account)
	defer b.mu.Unlock()
	return Sizes{b.used, b.idled.len(), b.tabs.used, len(b.counts), len(b.runs), len(b.caps), len(b.ones), len(b.closed), len(b.freezes), b.leases.open}
}

// Resolved has the store remember what it made of op's scopes and links, as a ledger has it.
func Resolved(op *ReserveOp) {
	op.memo = &memo{}
	op.memo.of(op.Scopes, op.Links)
}

// HalfSlices has slices take up to half of a limit, so that small caps are sliced, too.
func HalfSlices(s Store) { s.(*sliced).part = 2 }
