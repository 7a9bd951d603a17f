-- What is about the account: caps, freezes, runs, lists, and what processes tell books that forgot.

--<
ops.snapshot = function(a)
	local out, ids = {}, {}
	resolve(a[2])
	for _, key in ipairs(a[2]) do ids[#ids + 1] = match(key, '\n([^\n]*)') end
	loadCaps(ids)
	for i, key in ipairs(a[2]) do
		local cap = caps[ids[i]]
		if cap then
			local c, n = keyed[key], #out
			local seen = c and c[OVER] ~= 2 and {unpack(c, 1, REST)} or {'', '', 4, 0, 0, 0, 0}
			if seen[CAP] then -- a copy: looking changes nothing
				seen.buckets, seen.width, seen.length = c.buckets, c.width, c.length
				roll(seen)
			end
			out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = key, seen[SETTLED], seen[HELD], seen[UNCONFIRMED], seen[OVERRUN]
			out[n + 6], out[n + 7] = cap.limit or -1, reset(seen)
		end
	end
	return encode({'ok', now, out})
end

-- names are the keys of counts that an answer had only the ids of; none of those that are gone.
ops.names = function(a)
	local out = {}
	loadCounts(a[2])
	for i, id in ipairs(a[2]) do out[i] = counts[id] and keyOf(counts[id]) or '' end
	return encode({'ok', now, out})
end

-- touch gives the account a new version because of one cap.
local function touch(id)
	version, wrote = version + 1, true
	call('ZADD', VERSIONS, version, id)
end

local function note(old, text)
	call('RPUSH', CHANGES, string.format('%.0f\n%.0f\n%s\n%s', version, now, old, text))
	call('LTRIM', CHANGES, -KEEP_CHANGES, -1)
	wrote = true
end

-- define sets one cap: its id, what it is anchored to ('' nothing), limit and thresholds, record and change for readers.
local function define(c)
	local id, anchor, text, record, change = unpack(c)
	loadCaps({id})
	local have = caps[id]
	if have and have.text == text then return end
	touch(id)
	call('ZREM', GONE, id)
	call('HSET', CAPS, id, text)
	call('HSET', RECORDS, id, string.format('%.0f\n%.0f\n%s', version, now, record))
	if anchor ~= '' then
		call('HSET', ANCHORS, anchor, version)
		anchors[anchor] = version
		if sub(anchor, 1, 4) == 'run ' then call('ZADD', RUNS, 0, anchor .. '\ncap\n' .. id) end
	else
		shared = version
	end
	-- Every run may bring its own caps; only what somebody changed is worth keeping.
	if change ~= '' and (have or sub(anchor, 1, 4) ~= 'run ') then note(have and match(have.text, '^[^|]*') or '', change) end
	caps[id] = limits(text)
end

ops.define = function(a)
	for _, c in ipairs(a[2]) do
		if sub(c[2], 1, 4) == 'run ' and closed(c[2]) then return encode({'closed', now, c[2]}) end
	end
	for _, c in ipairs(a[2]) do define(c) end
	return encode({'ok', now, version})
end

ops.caps = function(a)
	local since, out = a[2], {}
	if since <= 0 or since < floor or since > version then
		local all = call('HGETALL', RECORDS)
		return encode({'ok', now, version, 1, all})
	end
	for _, id in ipairs(call('ZRANGEBYSCORE', VERSIONS, '(' .. string.format('%.0f', since), '+inf')) do
		out[#out + 1] = id
		out[#out + 1] = call('HGET', RECORDS, id) or call('ZSCORE', GONE, id) or '0'
	end
	return encode({'ok', now, version, 0, out})
end

ops.changes = function() return encode({'ok', now, call('LRANGE', CHANGES, 0, -1)}) end

ops.freeze = function(a)
	local _, scope, text, change = unpack(a)
	text = text .. '\n' .. string.format('%.0f', now)
	call('HSET', FREEZES, scope, text)
	frozen, wrote = 1, true
	freezes[scope] = text
	note('', change)
	return encode({'ok', now})
end

ops.unfreeze = function(a)
	local _, scope, change = unpack(a)
	freezes[scope] = false
	if call('HDEL', FREEZES, scope) > 0 then note('', change) end
	frozen = call('EXISTS', FREEZES)
	return encode({'ok', now})
end

ops.freezes = function()
	local all, out = call('HGETALL', FREEZES), {}
	for i = 1, #all, 2 do
		local ends = tonumber(match(all[i + 1], '^%d+'))
		if ends == 0 or now < ends then out[#out + 1], out[#out + 2] = all[i], all[i + 1] end
	end
	return encode({'ok', now, out})
end

ops.forget = function(a)
	local run = a[2]
	if closed(run) then return encode({'ok', now}) end
	writeSets()
	loadOpen({run})
	local prefix, stillOpen = run .. '\n', open[run] or 0
	local members = call('ZRANGEBYLEX', RUNS, '[' .. prefix, '(' .. run .. '\11')
	for _, member in ipairs(members) do
		local kind, what = match(member, '^(%l+)\n(.*)$', #prefix + 1)
		if kind == 'count' then
			resolve({what})
			stillOpen = max(stillOpen, keyed[what] and keyed[what][OPENS] or 0)
		end
	end
	if stillOpen > 0 then return encode({'run open', now, stillOpen}) end
	for _, member in ipairs(members) do
		local kind, what = match(member, '^(%l+)\n(.*)$', #prefix + 1)
		if kind == 'count' then
			resolve({what})
			local c = keyed[what]
			if c and c[LINKED] > 0 then
				c[OVER], dirtyCounts[c] = 2, true -- so that receipts still find it
			elseif c then
				drop(c)
			end
		else
			touch(what)
			call('HDEL', CAPS, what)
			call('HDEL', RECORDS, what)
			call('ZADD', GONE, version, what)
			caps[what] = false
		end
		call('ZREM', RUNS, member)
	end
	while call('ZCARD', GONE) > KEEP_GONE do
		local oldest = call('ZRANGE', GONE, 0, 0, 'WITHSCORES')
		floor = tonumber(oldest[2])
		call('ZREM', GONE, oldest[1])
		call('ZREM', VERSIONS, oldest[1])
	end
	call('HDEL', ANCHORS, run)
	call('HDEL', FREEZES, run)
	anchors[run], freezes[run] = false, false
	-- As long as reservations are kept that counted for it, nobody may begin the counts anew.
	local last = call('ZREVRANGE', ENDED, 0, 0, 'WITHSCORES')[2]
	call('ZREMRANGEBYSCORE', CLOSED, '-inf', now)
	call('ZADD', CLOSED, max(now + DEDUP, tonumber(last or 0)), run)
	closedRuns[run], closing, wrote = nil, 1, true
	return encode({'ok', now})
end

ops.open = function(a)
	local prefix, out = a[2], {}
	writeSets()
	for _, id in ipairs(call('ZRANGE', LEASES, 0, -1)) do
		if sub(id, 1, #prefix) == prefix then
			local r = row(id)
			if r then out[#out + 1] = {id, r[SCOPES], NAMES[r[STATE]], r[IDLE], r[BOUND], r[ACTUAL], r[ADMITTED], r[EXPIRES]} end
		end
	end
	return encode({'ok', now, out})
end

ops.scan = function(a)
	local _, cursor, since, kind = unpack(a)
	for id in pairs(dirtyRows) do -- an operation of this very batch
		if rows[id] then call('HSET', ROWS, id, packRow(rows[id])) end
	end
	local got, out = call('HSCAN', ROWS, cursor, 'COUNT', 500), {}
	for i = 1, #got[2], 2 do
		local v = got[2][i + 1]
		local r = byte(v) == 4 and {sunpack(ROW, v)} or oldRow(v)
		if r[ADMITTED] >= now - since then
			local names = ''
			for s in gmatch(r[SCOPES], '[^\n]+') do
				if sub(s, 1, #kind + 1) == kind .. ' ' or s == kind then names = names .. '\n' .. s end
			end
			if names ~= '' then out[#out + 1] = {got[2][i], names, NAMES[r[STATE]], 0, r[BOUND], r[ACTUAL], r[ADMITTED], r[EXPIRES]} end
		end
	end
	return encode({'ok', now, out, got[1]})
end

-- atLeast makes a rolling count stand, for as long as what was seen then may count, as high as it was seen: nobody knows
-- from which buckets that came, so it is taken for new.
local function atLeast(c, seen)
	local b = c.buckets
	local start = bucketOf(c, min(seen[6], now))
	if leaves(c, start) <= now then return end
	local k = 1
	while b[k] and b[k] < start do k = k + 4 end
	if b[k] ~= start then
		for j, v in ipairs({start, 0, 0, 0}) do table.insert(b, k + j - 1, v) end
	end
	local total, raised = {0, 0, 0}, {0, 0, 0} -- of the buckets from i on, before and after
	for i = #b - 3, 1, -4 do
		for j = 1, 3 do
			total[j] = plus(total[j], b[i + j])
			local want = i > k and total[j] or max(total[j], seen[j + 1])
			b[i + j], raised[j] = want - raised[j], want
		end
		b[i + 2], b[i + 3] = min(b[i + 2], b[i + 1]), min(b[i + 3], b[i + 1])
	end
	for i = #b - 3, 1, -4 do
		if b[i + 1] == 0 then
			for _ = 1, 4 do table.remove(b, i) end
		end
	end
	sumUp(c)
end

-- owed makes an allowance one of which so much was drawn.
local function owed(id, r, drawn)
	local change, was = {}, vector(r[ACTUAL])
	for meter, n in pairs(vector(drawn)) do change[meter] = min(n, vector(r[BOUND])[meter] or 0) - (was[meter] or 0) end
	for meter, n in pairs(was) do change[meter] = change[meter] or -n end
	lend(id, r, change)
end

-- declare gives books that forgot what a process still knows: caps, counts at least this high, reservations it has open, what
-- was drawn from allowances.
ops.declare = function(a)
	local _, defined, counted, held, lent = unpack(a)
	for _, c in ipairs(defined) do
		if not call('HGET', CAPS, c[1]) then
			define(c)
			shared = version
		end
	end
	for _, seen in ipairs(counted) do
		local key = seen[1]
		if seen[5] == 0 or now < seen[5] + DEDUP then
			resolve({key})
			local c = keyed[key] or newCount(key, 0)
			turn(c)
			if c.fresh and not c.begun then begin(c) end
			if c.buckets then
				atLeast(c, seen)
			else
				c[SETTLED], c[UNCONFIRMED], c[OVERRUN] = max(c[SETTLED], seen[2]), max(c[UNCONFIRMED], seen[3]), max(c[OVERRUN], seen[4])
			end
			cross(c) -- announced long ago
			extras = nil
			dirtyCounts[c], wrote = true, true
		end
	end
	for _, op in ipairs(held) do
		local _, id, idle, swap, _, _, lease, scopes, bound, links, source, taken = unpack(op)
		if not row(id) then
			local list = {}
			for i = 1, #links, 3 do
				resolve({links[i]})
				list[#list + 1] = keyed[links[i]] or newCount(links[i], 0)
			end
			local r = book(id, idle, swap, source, taken, scopes, bound, list, lease, '')
			local said = idle == 1 and call('HGET', LENT, id)
			if said then -- those that drew from it may be told of before it
				r[ADMITTED] = min(now, learning - LEASE)
				owed(id, r, sub(said, 9))
			end
		end
	end
	for _, said in ipairs(lent) do -- the latest that anybody was told counts
		local id, drawn, at = unpack(said)
		local before = call('HGET', LENT, id)
		if not before or at > sunpack('<d', before) then
			call('HSET', LENT, id, spack('<d', at) .. drawn)
			call('PEXPIRE', LENT, DEDUP / 1000)
			local r = allowance(id)
			if r then
				r[ADMITTED] = min(r[ADMITTED], learning - LEASE)
				owed(id, r, drawn)
			end
		end
	end
	return encode({'ok', now})
end
-->
