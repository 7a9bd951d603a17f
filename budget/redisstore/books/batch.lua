-- The batch.

-- What operations will look at is read at once.
--= RESERVE 82 SETTLE 83
local batch, wantRows, wantCounts, wantRuns, rowsWanted, countsWanted = {}, {}, {}, {}, 0, 0
--(
local wantKeys = {}
local byRow = {charge = true, void = true, release = true, renew = true, ['true-up'] = true}
--)
local function wantRunsOf(scopes, few)
	local list = runsIn(scopes)
	for i = 1, #list > few and #list or 0 do wantRuns[#wantRuns + 1] = list[i] end
end
for i = 2, #ARGV do
	local op = ARGV[i]
	local tag, low, high = byte(op, 1, 3)
	local a
	if tag == RESERVE then
		local n = low + 256 * high
		reserving = reserving + 1
		a = {sunpack(format('reserve', n, '<BHBBddI4c0I4c0I4c0I4c0I4c0', 'c8'), op)}
		rowsWanted = rowsWanted + 1
		wantRows[rowsWanted] = a[7]
		if a[8] ~= '' then
			rowsWanted = rowsWanted + 1
			wantRows[rowsWanted] = a[8]
		end
		for k = 12, 11 + n do
			countsWanted = countsWanted + 1
			wantCounts[countsWanted] = a[k]
		end
		wantRunsOf(a[10], 1)
	elseif tag == SETTLE then
		a = {sunpack('<BBI4c0I4c0', op)}
		rowsWanted = rowsWanted + 1
		wantRows[rowsWanted] = a[3]
--(
	else
		a = decode(op)
		if byRow[a[1]] then
			rowsWanted = rowsWanted + 1
			wantRows[rowsWanted] = a[2]
		elseif a[1] == 'reserve' then
			reserving, rowsWanted = reserving + 1, rowsWanted + 1
			wantRows[rowsWanted] = a[2]
			for k = 1, #a[10], 3 do wantKeys[#wantKeys + 1] = a[10][k] end
			wantRunsOf(a[8], 1)
		end
--)
	end
	batch[i] = a
end
if rowsWanted > 0 then
	loadRows(wantRows, wantCounts)
--! if more then return {MORE} end
	for i = 1, rowsWanted do
		local r = rows[wantRows[i]]
		if r and r[RUNNING] == 1 then wantRunsOf(r[SCOPES], 0) end
	end
	if wantRuns[1] then loadOpen(wantRuns) end
end
--(
if wantKeys[1] then resolve(wantKeys) end
--)

local out = {}
for i = 2, #ARGV do
	local a = batch[i]
	local tag = a[1]
	if tag == SETTLE then
		out[i] = settle(a[3], a[4], a[2] == 1)
	elseif tag == RESERVE then
		out[i] = reserve(a, a, 12, 1)
--(
	else
		out[i] = ops[tag](a)
--)
	end
	extras = nil
end

local tend = 0 -- whether there is something to forget, which the plainest form leaves to the next call
--(
if TEND == 1 then compact(SWEEP + 2 * #ARGV) end
--)
--! if reserving > 0 and (now >= oldest or call('ZCARD', ENDED) > KEEP) then tend = 1 end
if wrote then
	seq = seq + 1
	writeSets()
	local list, n = {}, 0
	for c in pairs(dirtyCounts) do
		local soft = (c.fired or c.custom or c.buckets) and (c.buckets and 2 or 1) or 0
		local v = spack(CELL, 4, c[4], c[5], c[6], c[7], c[8], c[9], c[10], soft, c[12], c[13], c.custom and 0 or c[14], #c[15], c[15])
		if soft > 0 then v = v .. encode({c.fired or false, c.custom or false, c.buckets, c.width, c.length}) end
		list[n + 1], list[n + 2], n = c[ID], v, n + 2
--(
		if c.fresh then call('HSET', IDS, c[KEY], c[ID]) end
		if c.unnamed then call('HSET', LABELS, c[ID], c[KEY]) end
		if c.old then call('HDEL', COUNTS, c[KEY]) end
--)
	end
	if n > 0 then many('HSET', COUNTS, list) end
	list, n = {}, 0
	for id in pairs(dirtyRows) do
		local r = rows[id]
		if r then list[n + 1], list[n + 2], n = id, packRow(r), n + 2 end
	end
	if n > 0 then many('HSET', ROWS, list) end
--(
	if missing or schema < SCHEMA then
		call('HSET', META, 'schema', SCHEMA)
		if not missing then
			old = 1
			call('HDEL', META, 'epoch', 'seq', 'clock', 'version', 'shared', 'learning', 'from', 'floor', 'named', 'old')
		end
	end
--)
	call('HSET', META, 'books', spack(BOOKS, seq, now, version, shared, learning, floor, named, soonest, oldest, old, frozen, closing, #epoch, epoch, #from, from))
end
out[1] = spack('<BBdI2c0', 79, tend, seq, #epoch, epoch)
return out
