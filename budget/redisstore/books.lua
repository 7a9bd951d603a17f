-- What a batch of operations does to one account's books. Rules: see package budget and budget/internal/rules.
--
-- ARGV[1] is a header, every further argument one operation, all msgpack arrays. The reply is a header and one answer for
-- each operation. Rows that are touched are read once, changed here and written at the end.
--
-- Numbers are doubles: every amount, sum and microsecond stays below 2^53, and a sum that reaches it stays there.
local MAX = 9007199254740992
local SWEEP = 8
local KEEP_CHANGES, KEEP_GONE = 1000, 1024

local META, CAPS, RECORDS, VERSIONS, GONE, ANCHORS, FREEZES, CLOSED, COUNTS, TURNS, ROWS, LEASES, ENDED, OPEN, RUNS, CHANGES = unpack(KEYS)
local call, encode, decode = redis.call, cmsgpack.pack, cmsgpack.unpack
local max, min, ceil = math.max, math.min, math.ceil
local match, sub, find = string.match, string.sub, string.find

local SCHEMA, KNOWN, SEEN, FRESH, INSPECT, CREATE, KEEP, RELEASES, DEDUP, LEARN, LEASE, AHEAD = unpack(decode(ARGV[1]))

-- Of a reservation.
local STATE, IDLE, LATE, SAID, ADMITTED, EXPIRES, KEPT, SWAP, SCOPES, BOUND, ACTUAL, USAGE, LINKS, CORRECTIONS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
-- Of a count; announced thresholds follow. OVER is 1 when its window has ended and 2 when its run was forgotten. Only a
-- rolling count has BUCKETS: start, settled, unconfirmed and overrun of each, the oldest first, none without spending.
local SETTLED, HELD, UNCONFIRMED, OVERRUN, LINKED, OVER, BUCKETS = 1, 2, 3, 4, 5, 6, 7

if INSPECT == 1 then
	local policy = match(call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
	if policy and policy ~= 'noeviction' then return {encode({'evicts', policy})} end
end

local found = call('HMGET', META, 'schema', 'epoch', 'seq', 'clock', 'version', 'shared', 'learning', 'from', 'floor')
local epoch, seq, clock = found[2], tonumber(found[3] or 0), tonumber(found[4] or 0)
local version, shared, learning, from, floor = tonumber(found[5] or 0), tonumber(found[6] or 0), tonumber(found[7] or 0), found[8], tonumber(found[9] or 0)
local time = call('TIME')
local now = max(time[1] * 1000000 + time[2] + AHEAD, clock)
local wrote = false

local schema = tonumber(found[1] or 1) or -1
if schema < 1 or schema > SCHEMA then return {encode({'schema', schema})} end
local missing = not found[1]
local forgot = KNOWN ~= '' and (missing or epoch ~= KNOWN or seq < SEEN)
if forgot and LEARN == 0 then return {encode({'forgot'})} end
if missing and CREATE == 0 and KNOWN == '' then return {encode({'missing'})} end
if missing then
	-- Versions of caps begin with the time, so that none of an earlier life is taken for one of this.
	epoch, version, shared, floor, wrote = FRESH, now, now, now, true
	call('HSET', META, 'schema', schema, 'floor', floor)
end
if forgot then
	if epoch == KNOWN then epoch = FRESH end -- the same books, but older than what was answered before
	if from ~= KNOWN then learning, from = max(learning, now + LEASE), KNOWN end
	seq, wrote = max(seq, SEEN), true
	call('HSET', META, 'learning', learning, 'from', from)
end

local function plus(a, b) return min(a + b, MAX) end
local function minus(a, b)
	if a >= MAX then return a end
	return max(a - b, 0)
end

-- reader answers fields of a hash, each read once; what is not there is false.
local function reader(key, read)
	local cache = {}
	local function load(fields)
		local want = {}
		for _, f in ipairs(fields) do
			if cache[f] == nil then
				want[#want + 1], cache[f] = f, false
			end
		end
		for first = 1, #want, 4000 do
			local last = min(first + 3999, #want)
			local got = call('HMGET', key, unpack(want, first, last))
			for i = first, last do
				local v = got[i - first + 1]
				cache[want[i]] = v and read(v) or false
			end
		end
	end
	return cache, load
end

local counts, loadCounts = reader(COUNTS, decode)
local rows, loadRows = reader(ROWS, decode)
local anchors, loadAnchors = reader(ANCHORS, tonumber)
local freezes, loadFreezes = reader(FREEZES, function(v) return v end)
local function limits(text)
	local cap = {limit = tonumber(match(text, '^%d+')), text = text}
	for percent, at in string.gmatch(text, '(%d+):(%d+)') do cap[#cap + 1] = {tonumber(percent), tonumber(at)} end
	return cap
end
local caps, loadCaps = reader(CAPS, limits)

-- What is written at the end: rows by their names, leases and ends by id (false takes out), changes of what runs have open.
local dirtyCounts, dirtyRows, leases, ended, open = {}, {}, {}, {}, {}
local function writeSets()
	for key, list in pairs({[LEASES] = leases, [ENDED] = ended}) do
		local add, rem = {}, {}
		for id, score in pairs(list) do
			if score then
				add[#add + 1], add[#add + 2] = score, id
			else
				rem[#rem + 1] = id
			end
			if #add >= 4000 then
				call('ZADD', key, unpack(add))
				add = {}
			end
			if #rem >= 4000 then
				call('ZREM', key, unpack(rem))
				rem = {}
			end
		end
		if #add > 0 then call('ZADD', key, unpack(add)) end
		if #rem > 0 then call('ZREM', key, unpack(rem)) end
	end
	for run, by in pairs(open) do
		if by ~= 0 and call('HINCRBY', OPEN, run, by) <= 0 then call('HDEL', OPEN, run) end
	end
	leases, ended, open = {}, {}, {}
end

-- A count's key has lines: meter, cap, scopes, start and end of its window, or 0 and how a rolling one rolls.
local keys = {}
local function parts(key)
	local p = keys[key]
	if not p then
		local meter, cap, ends = match(key, '^([^\n]*)\n([^\n]*)\n.*\n([^\n]+)$')
		local length, width = match(ends, '^rolling (%d+)/(%d+)$')
		p = {meter = meter, cap = cap, ends = ceil((tonumber(ends) or 0) / 1000), length = tonumber(length), width = tonumber(width)}
		keys[key] = p
	end
	return p
end

local texts = {}
local function amounts(text)
	local t = texts[text]
	if not t then
		t = {}
		for meter, n in string.gmatch(text, '(%S+)=(%d+)') do t[meter] = tonumber(n) end
		texts[text] = t
	end
	return t
end

local function limitOf(key)
	local cap = caps[parts(key).cap]
	return cap and cap.limit
end

local function newCount(key, over)
	return {0, 0, 0, 0, 0, over, parts(key).width and {} or nil}
end

-- linked is the count of a reservation's link.
local function linked(key)
	local c = counts[key]
	if c then
		dirtyCounts[key] = true
		return c
	end
	return newCount(key, 1)
end

-- Of a rolling count: where the bucket begins that an instant lies in, when one leaves, and how the sums follow.
local function bucketOf(p, at) return at - math.fmod(at, p.width) end
local function leaves(p, start) return start + p.width + p.length end
local function sumUp(c)
	local b = c[BUCKETS]
	c[SETTLED], c[UNCONFIRMED], c[OVERRUN] = 0, 0, 0
	for i = 1, #b, 4 do
		c[SETTLED], c[UNCONFIRMED], c[OVERRUN] = plus(c[SETTLED], b[i + 1]), plus(c[UNCONFIRMED], b[i + 2]), plus(c[OVERRUN], b[i + 3])
	end
end

-- roll takes out what has left the window, and arms thresholds again that the rest does not reach.
local function roll(key, c)
	local p = parts(key)
	local b = p.width and c[BUCKETS]
	if not b or not b[1] or leaves(p, b[1]) > now then return false end
	local kept = {}
	for i = 1, #b do
		if leaves(p, b[i - (i - 1) % 4]) > now then kept[#kept + 1] = b[i] end
	end
	c[BUCKETS] = kept
	sumUp(c)
	for _, mark in ipairs(caps[p.cap] or {}) do
		for i = #c, BUCKETS + 1, -1 do
			if c[i] == mark[1] and c[SETTLED] < mark[2] then table.remove(c, i) end
		end
	end
	return true
end

-- turn rolls a count of the books.
local function turn(key)
	local c = counts[key]
	if c and roll(key, c) then dirtyCounts[key], wrote = true, true end
	return c
end

-- reset is when a rolling count has less, 0 for never and for other windows.
local function reset(key, c)
	local p, b = parts(key), c[BUCKETS]
	return p.width and b and b[1] and leaves(p, b[1]) or 0
end

-- fits is when a request that was refused as spent fits, if what is held stays, unless that alone is in the way.
local function fits(key, c, asked, freed)
	local p, room, left = parts(key), limitOf(key) - asked, c[SETTLED]
	local held, b = c[HELD] - freed, p.width and c[BUCKETS] or {}
	if held <= room then room = room - held end
	for i = 1, #b, 4 do
		left = minus(left, b[i + 1])
		if left <= room then return leaves(p, b[i]) end
	end
	return 0
end

local function loadLinks(links, step)
	local want, ids = {}, {}
	for i = 1, #links, step do
		want[#want + 1], ids[#ids + 1] = links[i], parts(links[i]).cap
	end
	loadCounts(want)
	loadCaps(ids)
end

local function row(id)
	local r = rows[id]
	if r == nil then
		loadRows({id})
		r = rows[id]
		if r then loadLinks(r[LINKS], 2) end
	end
	return r
end

local function cross(key, c, ans)
	for _, mark in ipairs(caps[parts(key).cap] or {}) do
		if c[SETTLED] < mark[2] then return end
		local fired = false
		for i = OVER + 1, #c do fired = fired or c[i] == mark[1] end
		if not fired then
			c[#c + 1] = mark[1]
			local out = ans.crossed
			out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4], out[#out + 5] = key, mark[1], c[SETTLED], limitOf(key), reset(key, c)
		end
	end
end

local function unconfirmed(state) return state == 'charged' or state == 'expired' end

local function countRuns(scopes, by)
	for _, s in ipairs(scopes) do
		if sub(s, 1, 4) == 'run ' then open[s] = (open[s] or 0) + by end
	end
end

local function move(id, r, to, actual, ans)
	local isOpen, wasUnconfirmed, isUnconfirmed = r[STATE] == 'open', unconfirmed(r[STATE]), unconfirmed(to)
	local bounds, befores, afters = amounts(r[BOUND]), amounts(r[ACTUAL]), amounts(actual)
	local links, keep = r[LINKS], r[EXPIRES]
	for i = 1, #links, 2 do
		local key = links[i]
		local c, p, limit = linked(key), parts(key), limitOf(key)
		local bound, before, after = bounds[p.meter] or 0, befores[p.meter] or 0, afters[p.meter] or 0
		local ends, change, over = p.width and leaves(p, bucketOf(p, r[ADMITTED])) or p.ends, after - before, links[i + 1]
		roll(key, c)
		if isOpen then
			c[HELD] = minus(c[HELD], bound)
			change = after - bound
		end
		keep = max(keep, ends)
		if not p.width or now < ends then -- else its bucket has left, and its spending with it
			local unsure, isUnsure = wasUnconfirmed and before or 0, isUnconfirmed and after or 0
			c[SETTLED] = plus(minus(c[SETTLED], before), after)
			c[UNCONFIRMED] = plus(minus(c[UNCONFIRMED], unsure), isUnsure)
			if change > 0 then
				local above = max(after - bound, 0) - max(before - bound, 0)
				local unfit = limit and max(plus(c[SETTLED], c[HELD]) - plus(limit, c[OVERRUN]), 0) or 0
				local more = min(change, max(above, unfit))
				links[i + 1], c[OVERRUN] = plus(over, more), plus(c[OVERRUN], more)
			else
				local less = min(-change, over)
				links[i + 1], c[OVERRUN] = over - less, minus(c[OVERRUN], less)
			end
			if p.width then
				local b, start, k = c[BUCKETS], bucketOf(p, r[ADMITTED]), 1
				while b[k] and b[k] < start do k = k + 4 end
				if b[k] ~= start then
					for j, v in ipairs({start, 0, 0, 0}) do table.insert(b, k + j - 1, v) end
				end
				b[k + 1] = plus(minus(b[k + 1], before), after)
				b[k + 2] = plus(minus(b[k + 2], unsure), isUnsure)
				b[k + 3] = plus(minus(b[k + 3], over), links[i + 1])
				if b[k + 1] == 0 then
					for _ = 1, 4 do table.remove(b, k) end
				end
			end
			if after > before then cross(key, c, ans) end
		end
	end
	r[STATE], r[ACTUAL] = to, actual
	if isOpen then
		r[KEPT] = keep + DEDUP
		leases[id], ended[id] = false, r[KEPT]
		countRuns(r[SCOPES], -1)
	end
	dirtyRows[id], wrote = true, true
end

local function state(out, key)
	local c, n = turn(key) or {0, 0, 0, 0}, #out
	out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5], out[n + 6], out[n + 7] = key, c[SETTLED], c[HELD], c[UNCONFIRMED], c[OVERRUN], limitOf(key) or -1, reset(key, c)
end

local function answer(r, ans)
	ans.state, ans.late, ans.bound, ans.actual, ans.expires = r[STATE], r[LATE], r[BOUND], r[ACTUAL], r[EXPIRES]
	for i = 1, #r[LINKS], 2 do state(ans.left, r[LINKS][i]) end
end

local nothingDue = false
local function sweep(most, ans)
	if nothingDue then return end
	local due = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, most)
	nothingDue = #due < most
	for _, id in ipairs(due) do
		local r = row(id)
		if r and r[STATE] == 'open' and now >= r[EXPIRES] then
			if r[IDLE] == 1 or RELEASES == 1 then
				move(id, r, 'released', '', ans)
			else
				move(id, r, 'expired', r[BOUND], ans)
			end
			ans.expired[#ans.expired + 1] = id
		end -- else it ended, or was renewed, in this very batch
		call('ZREM', LEASES, id)
		if leases[id] == false then leases[id] = nil end
	end
end

-- runsOf calls f with the runs that a count is for.
local function runsOf(key, f)
	local n = 0
	for line in string.gmatch(key, '[^\n]+') do
		n = n + 1
		if n > 2 and sub(line, 1, 4) == 'run ' then f(line) end
	end
end

local function drop(key)
	counts[key], dirtyCounts[key] = false, nil
	call('HDEL', COUNTS, key)
	call('ZREM', TURNS, key)
	runsOf(key, function(run) call('ZREM', RUNS, run .. '\ncount\n' .. key) end)
end

-- compact forgets what nobody will ask for any more, a little at a time.
local nothingOld = false
local function compact(most)
	if nothingOld then return end
	local old = call('ZRANGEBYSCORE', ENDED, '-inf', now, 'LIMIT', 0, most)
	local many = min(most, call('ZCARD', ENDED) - KEEP)
	if many > #old then old = call('ZRANGE', ENDED, 0, many - 1) end
	for _, id in ipairs(old) do
		local r = row(id)
		if r then
			for i = 1, #r[LINKS], 2 do
				local key = r[LINKS][i]
				local c = counts[key]
				if c then
					c[LINKED], dirtyCounts[key] = c[LINKED] - 1, true
					roll(key, c)
					local empty = parts(key).width and c[HELD] == 0 and not c[BUCKETS][1]
					if c[LINKED] <= 0 and (c[OVER] > 0 or empty) then drop(key) end
				end
			end
		end
		rows[id], dirtyRows[id] = false, nil
		call('HDEL', ROWS, id)
		call('ZREM', ENDED, id)
		ended[id] = nil
	end
	local turned = call('ZRANGEBYSCORE', TURNS, '-inf', now, 'LIMIT', 0, most)
	loadCounts(turned)
	for _, key in ipairs(turned) do
		call('ZREM', TURNS, key)
		local c = counts[key]
		if c and c[LINKED] > 0 then
			c[OVER], dirtyCounts[key] = max(c[OVER], 1), true
		else
			drop(key)
		end
	end
	nothingOld = #old == 0 and #turned == 0
	if not nothingOld then wrote = true end
end

local anyClosed
local function closed(scope)
	if anyClosed == nil then anyClosed = call('EXISTS', CLOSED) == 1 end
	if not anyClosed then return false end
	local ends = call('ZSCORE', CLOSED, scope)
	return ends and now < tonumber(ends)
end

local ops = {}
local function refuse(why, id, r) return {why, now, id, r and r[STATE] or ''} end

-- book admits without asking.
local function book(id, idle, swap, scopes, bound, links, lease)
	local r = {'open', idle, 0, 0, now, now + lease, 0, swap, scopes, bound, '', '', {}, {}}
	local asked = amounts(bound)
	for i = 1, #links, 3 do
		local key, c = links[i], counts[links[i]]
		if not c then
			c = newCount(key, 0)
			counts[key] = c
			if links[i + 2] > 0 then call('ZADD', TURNS, links[i + 2], key) end
			runsOf(key, function(run) call('ZADD', RUNS, 0, run .. '\ncount\n' .. key) end)
		end
		c[HELD], c[LINKED], dirtyCounts[key] = plus(c[HELD], asked[parts(key).meter] or 0), c[LINKED] + 1, true
		r[LINKS][#r[LINKS] + 1], r[LINKS][#r[LINKS] + 2] = key, 0
	end
	countRuns(scopes, 1)
	leases[id], rows[id], dirtyRows[id], wrote = r[EXPIRES], r, true, true
	return r
end

local function same(a, b)
	if #a ~= #b then return false end
	for i = 1, #a do
		if a[i] ~= b[i] then return false end
	end
	return true
end

ops.reserve = function(a, ans)
	local _, id, idle, swap, dry, known, lease, scopes, bound, links = unpack(a)
	local r = row(id)
	if r then
		if r[IDLE] ~= idle or r[SWAP] ~= swap or r[BOUND] ~= bound or not same(r[SCOPES], scopes) then return refuse('mismatch', id, r) end
		if r[STATE] ~= 'open' then return refuse('finished', id, r) end
		if now >= r[EXPIRES] then return {'finished', now, id, 'expired'} end
		ans.duplicate = 1
		return answer(r, ans)
	end
	if now < learning then return {'learning', now, learning} end
	local need = shared
	for _, s in ipairs(scopes) do need = max(need, anchors[s] or 0) end
	if known < need then return {'stale', now, 'caps'} end
	for i = 1, #links, 3 do
		if not caps[parts(links[i]).cap] then return {'stale', now, 'caps'} end
		if now < links[i + 1] or links[i + 2] > 0 and now >= links[i + 2] then return {'stale', now, 'window'} end
	end
	for _, s in ipairs(scopes) do
		if sub(s, 1, 4) == 'run ' and closed(s) then return {'closed', now, s} end
	end
	for i = 1, #links, 3 do
		local c = counts[links[i]]
		if c and c[OVER] == 2 then -- a run of this name is still remembered
			compact(SWEEP)
			return {'closed', now, match(links[i], '\n(run [^\n]*)\n.*\n') or ''}
		end
	end
	local given = false
	if swap ~= '' then
		given = row(swap)
		if not given then return {'no swap', now, swap} end
		if given[IDLE] ~= 1 then return {'busy swap', now, swap, given[STATE]} end
	end
	if dry == 0 then
		sweep(SWEEP, ans)
		compact(SWEEP)
		given = swap ~= '' and row(swap)
	end
	local free = {}
	if given and given[STATE] == 'open' then
		local held = amounts(given[BOUND])
		for i = 1, #given[LINKS], 2 do free[given[LINKS][i]] = held[parts(given[LINKS][i]).meter] or 0 end
	end
	for _, s in ipairs(scopes) do
		local f = freezes[s]
		if f then
			local ends = tonumber(match(f, '^%d+'))
			if ends > 0 and now >= ends then
				call('HDEL', FREEZES, s)
				freezes[s] = false
			else
				ans.frozen[#ans.frozen + 1], ans.frozen[#ans.frozen + 2] = s, f
			end
		end
	end
	local asked = amounts(bound)
	for i = 1, #links, 3 do
		local key = links[i]
		local limit, c, n, freed = limitOf(key), turn(key) or {0, 0}, asked[parts(key).meter] or 0, free[key] or 0
		if n > 0 and limit and n > limit - plus(c[SETTLED], c[HELD]) + freed then
			local kind = 'spent'
			if n > limit then
				kind = 'too_big'
			elseif c[SETTLED] + n <= limit then
				kind = 'held'
			end
			local v = ans.refused
			local ends = kind == 'spent' and fits(key, c, n, freed) or 0
			v[#v + 1], v[#v + 2], v[#v + 3], v[#v + 4], v[#v + 5], v[#v + 6], v[#v + 7] = key, kind, limit, c[SETTLED], c[HELD] - freed, n, ends
		end
	end
	if #ans.frozen > 0 or #ans.refused > 0 or dry == 1 then
		for i = 1, #links, 3 do state(ans.left, links[i]) end
		if given and given[STATE] == 'open' then -- what a swap would free is left to it
			for i = 1, #ans.left, 7 do ans.free[#ans.free + 1] = free[ans.left[i]] or 0 end
		end
		return
	end
	if given and given[STATE] == 'open' then move(swap, given, 'released', '', ans) end
	answer(book(id, idle, swap, scopes, bound, links, lease), ans)
end

ops.settle = function(a, ans)
	local _, id, actual = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[SAID] == 1 then
		if r[USAGE] ~= actual then return refuse('mismatch', id, r) end
		ans.duplicate = 1
	elseif r[STATE] == 'voided' then
		return refuse('finished', id, r)
	else
		r[LATE] = (r[STATE] ~= 'open' or now >= r[EXPIRES]) and 1 or 0
		r[SAID], r[USAGE], dirtyRows[id], wrote = 1, actual, true, true
		if #r[CORRECTIONS] == 0 then move(id, r, 'settled', actual, ans) end -- a receipt knows better than usage after it
	end
	answer(r, ans)
end

ops.charge = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[STATE] == 'voided' then return refuse('finished', id, r) end
	if r[STATE] ~= 'open' then
		ans.duplicate = 1
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, 'charged', r[BOUND], ans)
	end
	answer(r, ans)
end

ops.void = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == 'settled' then return refuse('finished', id, r) end
	if r[STATE] == 'voided' or r[STATE] == 'released' then
		ans.duplicate = 1
	else
		r[LATE] = (r[STATE] ~= 'open' or now >= r[EXPIRES]) and 1 or 0
		move(id, r, 'voided', '', ans)
	end
	answer(r, ans)
end

ops.release = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] ~= 1 then return refuse('not idle', id, r) end
	if r[STATE] ~= 'open' then
		ans.duplicate = 1
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, 'released', '', ans)
	end
	answer(r, ans)
end

ops.renew = function(a, ans)
	local _, id, lease = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] ~= 'open' or now >= r[EXPIRES] then return refuse('finished', id, r) end
	r[EXPIRES], dirtyRows[id], wrote = now + lease, true, true
	leases[id] = r[EXPIRES]
	answer(r, ans)
end

ops['true-up'] = function(a, ans)
	local _, id, actual, source = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == 'open' then return refuse('still open', id, r) end
	local said = r[CORRECTIONS]
	for i = 1, #said, 2 do
		if said[i] == source then
			if said[i + 1] ~= actual then return refuse('mismatch', id, r) end
			ans.duplicate = 1
			return answer(r, ans)
		end
	end
	said[#said + 1], said[#said + 2] = source, actual
	move(id, r, 'settled', actual, ans)
	answer(r, ans)
end

ops.sweep = function(a, ans)
	sweep(a[2], ans)
	compact(max(a[2], SWEEP))
end

ops.snapshot = function(a, ans)
	loadLinks(a[2], 1)
	for _, key in ipairs(a[2]) do
		if caps[parts(key).cap] then
			local c = counts[key]
			if c then -- a copy: looking changes nothing
				local seen = {unpack(c)}
				roll(key, seen)
				counts[key] = c[OVER] ~= 2 and seen
			end
			state(ans.left, key)
			counts[key] = c
		end
	end
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
	if schema < SCHEMA and match(id, ' rolling [^ ]+$') then -- from now on the books have buckets
		schema = SCHEMA
		call('HSET', META, 'schema', schema)
	end
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
		if sub(c[2], 1, 4) == 'run ' and closed(c[2]) then return {'closed', now, c[2]} end
	end
	for _, c in ipairs(a[2]) do define(c) end
	return {'ok', now, version}
end

ops.caps = function(a)
	local since, out = a[2], {}
	if since <= 0 or since < floor or since > version then
		local all = call('HGETALL', RECORDS)
		return {'ok', now, version, 1, all}
	end
	for _, id in ipairs(call('ZRANGEBYSCORE', VERSIONS, '(' .. string.format('%.0f', since), '+inf')) do
		out[#out + 1] = id
		out[#out + 1] = call('HGET', RECORDS, id) or call('ZSCORE', GONE, id) or '0'
	end
	return {'ok', now, version, 0, out}
end

ops.changes = function() return {'ok', now, call('LRANGE', CHANGES, 0, -1)} end

ops.freeze = function(a)
	local _, scope, text, change = unpack(a)
	text = text .. '\n' .. string.format('%.0f', now)
	call('HSET', FREEZES, scope, text)
	freezes[scope] = text
	note('', change)
	return {'ok', now}
end

ops.unfreeze = function(a)
	local _, scope, change = unpack(a)
	freezes[scope] = false
	if call('HDEL', FREEZES, scope) > 0 then note('', change) end
	return {'ok', now}
end

ops.freezes = function()
	local all, out = call('HGETALL', FREEZES), {}
	for i = 1, #all, 2 do
		local ends = tonumber(match(all[i + 1], '^%d+'))
		if ends == 0 or now < ends then out[#out + 1], out[#out + 2] = all[i], all[i + 1] end
	end
	return {'ok', now, out}
end

ops.forget = function(a)
	local run = a[2]
	if closed(run) then return {'ok', now} end
	writeSets()
	local open = tonumber(call('HGET', OPEN, run) or 0)
	if open > 0 then return {'run open', now, open} end
	local prefix = run .. '\n'
	for _, member in ipairs(call('ZRANGEBYLEX', RUNS, '[' .. prefix, '(' .. run .. '\11')) do
		local kind, what = match(member, '^(%l+)\n(.*)$', #prefix + 1)
		if kind == 'count' then
			loadCounts({what})
			local c = counts[what]
			if c and c[LINKED] > 0 then
				c[OVER], dirtyCounts[what] = 2, true -- so that receipts still find it
			else
				drop(what)
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
		call('HSET', META, 'floor', floor)
	end
	call('HDEL', ANCHORS, run)
	call('HDEL', FREEZES, run)
	anchors[run], freezes[run] = false, false
	-- As long as reservations are kept that counted for it, nobody may begin the counts anew.
	local last = call('ZREVRANGE', ENDED, 0, 0, 'WITHSCORES')[2]
	call('ZREMRANGEBYSCORE', CLOSED, '-inf', now)
	call('ZADD', CLOSED, max(now + DEDUP, tonumber(last or 0)), run)
	anyClosed, wrote = true, true
	return {'ok', now}
end

ops.open = function(a)
	local prefix, out = a[2], {}
	writeSets()
	for _, id in ipairs(call('ZRANGE', LEASES, 0, -1)) do
		if sub(id, 1, #prefix) == prefix then
			loadRows({id})
			local r = rows[id]
			if r then out[#out + 1] = {id, r[SCOPES], r[STATE], r[IDLE], r[BOUND], r[ACTUAL], r[ADMITTED], r[EXPIRES]} end
		end
	end
	return {'ok', now, out}
end

ops.scan = function(a)
	local _, cursor, since, kind = unpack(a)
	for id in pairs(dirtyRows) do -- an operation of this very batch
		if rows[id] then call('HSET', ROWS, id, encode(rows[id])) end
	end
	local got, out = call('HSCAN', ROWS, cursor, 'COUNT', 500), {}
	for i = 1, #got[2], 2 do
		local r = decode(got[2][i + 1])
		if r[ADMITTED] >= now - since then
			local names = {}
			for _, s in ipairs(r[SCOPES]) do
				if sub(s, 1, #kind + 1) == kind .. ' ' or s == kind then names[#names + 1] = s end
			end
			if #names > 0 then out[#out + 1] = {got[2][i], names, r[STATE], 0, r[BOUND], r[ACTUAL], r[ADMITTED], r[EXPIRES]} end
		end
	end
	return {'ok', now, out, got[1]}
end

-- atLeast makes a rolling count stand, for as long as what was seen then may count, as high as it was seen: nobody knows
-- from which buckets that came, so it is taken for new.
local function atLeast(key, c, seen)
	local p, b = parts(key), c[BUCKETS]
	local start = bucketOf(p, min(seen[6], now))
	if leaves(p, start) <= now then return end
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

-- declare gives books that forgot what a process still knows: caps, counts at least this high, reservations it has open.
ops.declare = function(a)
	local _, defined, counted, held = unpack(a)
	for _, c in ipairs(defined) do
		if not call('HGET', CAPS, c[1]) then
			define(c)
			shared = version
		end
	end
	for _, c in ipairs(counted) do
		local key = c[1]
		loadLinks({key}, 1)
		if c[5] == 0 or now < c[5] + DEDUP then
			local have = turn(key)
			if not have then
				have = newCount(key, 0)
				counts[key] = have
				if c[5] > 0 then call('ZADD', TURNS, c[5], key) end
				runsOf(key, function(run) call('ZADD', RUNS, 0, run .. '\ncount\n' .. key) end)
			end
			if parts(key).width then
				atLeast(key, have, c)
			else
				have[SETTLED], have[UNCONFIRMED], have[OVERRUN] = max(have[SETTLED], c[2]), max(have[UNCONFIRMED], c[3]), max(have[OVERRUN], c[4])
			end
			cross(key, have, {crossed = {}}) -- announced long ago
			dirtyCounts[key], wrote = true, true
		end
	end
	for _, op in ipairs(held) do
		local _, id, idle, swap, _, _, lease, scopes, bound, links = unpack(op)
		if not row(id) then
			loadLinks(links, 3)
			book(id, idle, swap, scopes, bound, links, lease)
		end
	end
	return {'ok', now}
end

-- What operations will look at is read at once.
local batch, wantRows, wantScopes, wantKeys, wantCaps = {}, {}, {}, {}, {}
local function want(links, step)
	for i = 1, #links, step do wantKeys[#wantKeys + 1], wantCaps[#wantCaps + 1] = links[i], parts(links[i]).cap end
end
local byRow = {reserve = true, settle = true, charge = true, void = true, release = true, renew = true, ['true-up'] = true}
for i = 2, #ARGV do
	local a = decode(ARGV[i])
	batch[i] = a
	if byRow[a[1]] then wantRows[#wantRows + 1] = a[2] end
	if a[1] == 'reserve' then
		if a[4] ~= '' then wantRows[#wantRows + 1] = a[4] end
		for _, s in ipairs(a[8]) do wantScopes[#wantScopes + 1] = s end
		want(a[10], 3)
	end
end
loadRows(wantRows)
loadAnchors(wantScopes)
loadFreezes(wantScopes)
for _, id in ipairs(wantRows) do
	if rows[id] then want(rows[id][LINKS], 2) end
end
loadCounts(wantKeys)
loadCaps(wantCaps)

local out = {}
for i = 2, #ARGV do
	local a = batch[i]
	local ans = {duplicate = 0, late = 0, state = '', bound = '', actual = '', expires = 0, left = {}, crossed = {}, expired = {}, frozen = {}, refused = {}, free = {}}
	local said = ops[a[1]](a, ans)
	if not said then
		said = {'answer', now, ans.duplicate, ans.late, ans.state, ans.bound, ans.actual, ans.expires, ans.left, ans.crossed, ans.expired, ans.frozen, ans.refused, ans.free}
	end
	out[i] = encode(said)
end

local function write(key, dirty, values)
	local list = {}
	for field in pairs(dirty) do
		if values[field] then
			list[#list + 1], list[#list + 2] = field, encode(values[field])
			if #list >= 4000 then
				call('HSET', key, unpack(list))
				list = {}
			end
		end
	end
	if #list > 0 then call('HSET', key, unpack(list)) end
end
if wrote then
	seq = seq + 1
	writeSets()
	write(COUNTS, dirtyCounts, counts)
	write(ROWS, dirtyRows, rows)
	call('HSET', META, 'epoch', epoch, 'seq', seq, 'clock', now, 'version', version, 'shared', shared)
end
out[1] = encode({'ok', now, epoch, seq, version})
return out
