-- What a batch of operations does to one account's books. Rules: see package budget and budget/internal/rules.
--
-- ARGV[1] is a header, every further argument one operation. The reply is a header and one answer for each operation.
-- Reserving, settling and what is answered to them are structs, since those are most of the work; the rest is msgpack. Rows
-- that are touched are read once, changed here and written at the end.
--
-- Numbers are doubles: every amount, sum and microsecond stays below 2^53, and a sum that reaches it stays there.
--
-- Lines of --= give names to constants, which are written into the script before it is sent: a function may use only so many
-- variables of the script, looks through all of them when it is made, and constants are faster. What stands between --< and
-- --> is left out where only reservations are spoken of.
--= MAX 9007199254740992
--= SWEEP 8 KEEP_CHANGES 1000 KEEP_GONE 1024

--= META KEYS[1] CAPS KEYS[2] RECORDS KEYS[3] VERSIONS KEYS[4] GONE KEYS[5] ANCHORS KEYS[6] FREEZES KEYS[7] CLOSED KEYS[8]
--= COUNTS KEYS[9] TURNS KEYS[10] ROWS KEYS[11] LEASES KEYS[12] ENDED KEYS[13] OPEN KEYS[14] RUNS KEYS[15] CHANGES KEYS[16] IDS KEYS[17]
local call, encode, decode, spack, sunpack = redis.call, cmsgpack.pack, cmsgpack.unpack, struct.pack, struct.unpack
local max, min, huge = math.max, math.min, math.huge
local match, gmatch, sub, find, byte, rep = string.match, string.gmatch, string.sub, string.find, string.byte, string.rep

--= SCHEMA header[1] KNOWN header[2] SEEN header[3] FRESH header[4] INSPECT header[5] CREATE header[6] KEEP header[7] RELEASES header[8]
--= DEDUP header[9] LEARN header[10] LEASE header[11] AHEAD header[12]
local header = decode(ARGV[1])

-- Of a reservation, after the schema. N links follow, an id and what they added to overrun each.
--= N 2 STATE 3 IDLE 4 LATE 5 SAID 6 ADMITTED 7 EXPIRES 8 KEPT 9 SWAP 10 SCOPES 11 BOUND 12 ACTUAL 13 USAGE 14 CORRECTIONS 15 FIRST 16
--= ROW '<BHBBBBdddI4c0I4c0I4c0I4c0I4c0I4c0'
--= OPENED 1 SETTLED_AT 2 CHARGED 3 EXPIRED 4 VOIDED 5 RELEASED 6
local NAMES = {'open', 'settled', 'charged', 'expired', 'voided', 'released'}

-- Of a count. OVER is 1 when its window has ended and 2 when its run was forgotten. From ENDS on it never changes: ends is 0
-- for never, width and length are of a rolling window, METER is one of METERS or 0 for CUSTOM. c.fired are the thresholds that
-- were announced; only a rolling count has c.buckets: start, settled, unconfirmed and overrun of each, the oldest first, none
-- without spending. Its id is never given to another, also not by books that forgot, because the time is in it.
--= SETTLED 1 HELD 2 UNCONFIRMED 3 OVERRUN 4 LINKED 5 OVER 6 ENDS 7 WIDTH 8 LENGTH 9 METER 10 CUSTOM 11 CAP 12 KEY 13 REST 14
--= FIELDS '<dddddddddBI2c0I2c0I4c0' SUMS '<Bddddddc0' SAME '<dddBI2c0I2c0I4c0' BEFORE 50
local METERS = {money = 1, tokens = 2, requests = 3, tool_calls = 4}
--= NOID '\0\0\0\0\0\0\0\0'

if INSPECT == 1 then
	local policy = match(call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
	if policy and policy ~= 'noeviction' then return {encode({'evicts', policy})} end
end

local found = call('HMGET', META, 'schema', 'epoch', 'seq', 'clock', 'version', 'shared', 'learning', 'from', 'floor', 'named', 'old')
local epoch, seq, clock = found[2], tonumber(found[3] or 0), tonumber(found[4] or 0)
local version, shared, learning, from, floor = tonumber(found[5] or 0), tonumber(found[6] or 0), tonumber(found[7] or 0), found[8], tonumber(found[9] or 0)
local named, old = tonumber(found[10] or 0), found[11] == '1' -- the last id of a count; whether there are rows of older schemas
local time = call('TIME')
local now = max(time[1] * 1000000 + time[2] + AHEAD, clock)
local wrote = false

local schema = tonumber(found[1] or SCHEMA) or -1
if schema < 1 or schema > SCHEMA then return {encode({'schema', schema})} end
old = old or schema < 3
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

-- each calls f with up to 4000 of a list at once, which is what fits on the stack.
local function each(list, f)
	for first = 1, #list, 4000 do f(first, min(first + 3999, #list)) end
end

local function number(v) return tonumber(v) end

-- reader answers fields of a hash, each read once; what is not there is false.
local function reader(key, read)
	local cache = {}
	local function load(fields)
		local want, n = {}, 0
		for i = 1, #fields do
			local f = fields[i]
			if cache[f] == nil then
				n = n + 1
				want[n], cache[f] = f, false
			end
		end
		each(want, function(first, last)
			local got = call('HMGET', key, unpack(want, first, last))
			for i = first, last do
				local v = got[i - first + 1]
				if v then cache[want[i]] = read(v, want[i]) end
			end
		end)
	end
	return cache, load
end

local anchors, loadAnchors = reader(ANCHORS, number)
local freezes, loadFreezes = reader(FREEZES, function(v) return v end)
local open, loadOpen = reader(OPEN, number)

-- A cap's text is "limit|percent:at,percent:at"; most settlements end below the first threshold, and never read the others.
local function limits(text)
	local limit, _, first = match(text, '^(%d*)[^|]*|(%d*):?(%d*)')
	return {limit = tonumber(limit), first = tonumber(first) or huge, text = text}
end
local function marks(cap)
	if not cap.marks then
		cap.marks = {}
		for percent, at in gmatch(cap.text, '(%d+):(%d+)') do cap.marks[#cap.marks + 1] = {tonumber(percent), tonumber(at)} end
	end
	return cap.marks
end
local caps, loadCaps = reader(CAPS, limits)

-- Amounts are the four meters and, after them, texts of others.
local vectors = {[''] = {0, 0, 0, 0}}
local function vector(b)
	local v = vectors[b]
	if not v then
		v = {sunpack('<dddd', b)}
		if #b > 32 then
			for meter, n in gmatch(sub(b, 33), '(%S+)=(%d+)') do v[meter] = tonumber(n) end
		end
		vectors[b] = v
	end
	return v
end

local keyed, counts, loadCounts = {}
counts, loadCounts = reader(COUNTS, function(v, id)
	local c = {sunpack(FIELDS, v, 2)}
	local rest = c[REST]
	c.id, c.meter, c.same = id, c[METER] > 0 and c[METER] or c[CUSTOM], sub(v, BEFORE, rest - 1)
	if c[WIDTH] > 0 then c.buckets = {} end
	if rest <= #v then
		local soft = decode(sub(v, rest))
		c.fired = soft[1]
		if c.buckets then c.buckets = soft[2] end
	end
	keyed[c[KEY]] = c
	return c
end)

-- newCount is a count that is in the books only when it was begun. Its key has lines: meter, cap, scopes, start and end of its
-- window in nanoseconds, or 0 and how a rolling one rolls.
local function newCount(key, over)
	local meter, cap, ends = match(key, '^([^\n]*)\n([^\n]*)\n.*\n([^\n]+)$')
	local length, width = match(ends, '^rolling (%d+)/(%d+)$')
	local us = 0
	if not width and #ends > 3 then us = tonumber(sub(ends, 1, -4)) + (sub(ends, -3) ~= '000' and 1 or 0) end
	named = max(named, now) + 1
	local c = {0, 0, 0, 0, 0, over, us, tonumber(width or 0), tonumber(length or 0), METERS[meter] or 0, meter, cap, key}
	if METERS[meter] then c[CUSTOM] = '' end
	c.id, c.meter, c.fresh, c.buckets = spack('>d', named), METERS[meter] or meter, true, width and {} or nil
	c.same = spack(SAME, c[ENDS], c[WIDTH], c[LENGTH], c[METER], #c[CUSTOM], c[CUSTOM], #cap, cap, #key, key)
	counts[c.id], keyed[key] = c, c
	loadCaps({cap})
	return c
end

-- What is written at the end: counts, rows by their names, leases and ends by id (false takes out), what runs have open.
local dirtyCounts, dirtyRows, leases, ended, dirtyOpen = {}, {}, {}, {}, {}

local function loadCapsOf(list)
	local ids = {}
	for i = 1, #list do
		local c = counts[list[i]]
		if c then ids[#ids + 1] = c[CAP] end
	end
	loadCaps(ids)
end

-- resolve loads counts by their keys.
local function resolve(keys)
	local want, ids = {}, {}
	for _, key in ipairs(keys) do
		if keyed[key] == nil then want[#want + 1], keyed[key] = key, false end
	end
	each(want, function(first, last)
		for i, id in ipairs(call('HMGET', IDS, unpack(want, first, last))) do
			if id then ids[#ids + 1] = id end
		end
	end)
	loadCounts(ids)
	loadCapsOf(ids)
	if not old then return end
	for _, key in ipairs(want) do -- counts of schemas 1 and 2 have their keys for ids
		local v = not keyed[key] and call('HGET', COUNTS, key)
		if v then
			local was, c = decode(v), newCount(key, 0)
			for i = 1, 6 do c[i] = was[i] end
			local fired = c.buckets and 8 or 7
			if c.buckets then c.buckets = was[7] end
			if #was >= fired then c.fired = {unpack(was, fired)} end
			c.begun, c.old, dirtyCounts[c] = true, true, true
		end
	end
end

local function amountsOf(text) -- of schemas 1 and 2
	if text == '' then return '' end
	local v, custom = {0, 0, 0, 0}, {}
	for meter, n in gmatch(text, '(%S+)=(%d+)') do
		if METERS[meter] then
			v[METERS[meter]] = tonumber(n)
		else
			custom[#custom + 1] = meter .. '=' .. n
		end
	end
	return spack('<dddd', unpack(v)) .. table.concat(custom, ' ')
end

local function oldRow(v)
	local was, states = decode(v), {}
	for i, name in ipairs(NAMES) do states[name] = i end
	local keys, said, r = {}, was[14], {3, 0, states[was[1]], was[2], was[3], was[4], was[5], was[6], was[7], was[8],
		'\n' .. table.concat(was[9], '\n'), amountsOf(was[10]), amountsOf(was[11]), amountsOf(was[12]), ''}
	for i = 2, #said, 2 do said[i] = amountsOf(said[i]) end
	if #said > 0 then r[CORRECTIONS] = encode(said) end
	for i = 1, #was[13], 2 do keys[#keys + 1] = was[13][i] end
	resolve(keys)
	for i, key in ipairs(keys) do
		r[#r + 1] = (keyed[key] or newCount(key, 1)).id
		r[#r + 1] = was[13][2 * i]
	end
	r[N] = #keys
	return r
end

local rowFormats, answerFormats, reserveFormats = {}, {}, {}, {}
local function format(cache, n, head, link)
	local f = cache[n]
	if not f then
		f = head .. rep(link, n)
		cache[n] = f
	end
	return f
end

local rows, loadRowsAlone = reader(ROWS, function(v)
	local schema, low, high = byte(v, 1, 3)
	if schema ~= 3 then return oldRow(v) end
	return {sunpack(format(rowFormats, low + 256 * high, ROW, 'c8d'), v)}
end)

local function packRow(r)
	return spack(format(rowFormats, r[N], ROW, 'c8d'), 3, r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], #r[10], r[10], #r[11], r[11],
		#r[12], r[12], #r[13], r[13], #r[14], r[14], #r[15], r[15], unpack(r, FIRST, FIRST - 1 + 2 * r[N]))
end

-- loadRows loads rows with all their counts, and those of the ids in more.
local function loadRows(ids, more)
	loadRowsAlone(ids)
	local want = more or {}
	for _, id in ipairs(ids) do
		local r = rows[id]
		if r then
			for i = FIRST, FIRST - 2 + 2 * r[N], 2 do want[#want + 1] = r[i] end
		end
	end
	loadCounts(want)
	loadCapsOf(want)
end

local function row(id)
	local r = rows[id]
	if r == nil then
		loadRows({id})
		r = rows[id]
	end
	return r
end

local scopeRuns = {}
local function runsIn(scopes)
	local list = scopeRuns[scopes]
	if not list then
		list = {}
		if find(scopes, '\nrun ', 1, true) then
			for run in gmatch(scopes, '\n(run [^\n]*)') do list[#list + 1] = run end
		end
		scopeRuns[scopes] = list
	end
	return list
end

local function writeSets()
	for key, list in pairs({[LEASES] = leases, [ENDED] = ended}) do
		local add, rem = {}, {}
		for id, score in pairs(list) do
			if score then
				add[#add + 1], add[#add + 2] = score, id
			else
				rem[#rem + 1] = id
			end
		end
		each(add, function(first, last) call('ZADD', key, unpack(add, first, last)) end)
		each(rem, function(first, last) call('ZREM', key, unpack(rem, first, last)) end)
	end
	local set, gone = {}, {}
	for run in pairs(dirtyOpen) do
		if open[run] > 0 then
			set[#set + 1], set[#set + 2] = run, open[run]
		else
			gone[#gone + 1] = run
		end
	end
	each(set, function(first, last) call('HSET', OPEN, unpack(set, first, last)) end)
	each(gone, function(first, last) call('HDEL', OPEN, unpack(gone, first, last)) end)
	leases, ended, dirtyOpen = {}, {}, {}
end

local function limitOf(c)
	local cap = caps[c[CAP]]
	return cap and cap.limit
end

-- Of a rolling count: where the bucket begins that an instant lies in, when one leaves, and how the sums follow.
local function bucketOf(c, at) return at - math.fmod(at, c[WIDTH]) end
local function leaves(c, start) return start + c[WIDTH] + c[LENGTH] end
local function sumUp(c)
	local b = c.buckets
	c[SETTLED], c[UNCONFIRMED], c[OVERRUN] = 0, 0, 0
	for i = 1, #b, 4 do
		c[SETTLED], c[UNCONFIRMED], c[OVERRUN] = plus(c[SETTLED], b[i + 1]), plus(c[UNCONFIRMED], b[i + 2]), plus(c[OVERRUN], b[i + 3])
	end
end

-- roll takes out what has left the window, and arms thresholds again that the rest does not reach.
local function roll(c)
	local b = c.buckets
	if not b or not b[1] or leaves(c, b[1]) > now then return false end
	local kept = {}
	for i = 1, #b do
		if leaves(c, b[i - (i - 1) % 4]) > now then kept[#kept + 1] = b[i] end
	end
	c.buckets = kept
	sumUp(c)
	local cap, fired = caps[c[CAP]], c.fired
	if cap and fired then
		c.fired = {}
		for _, percent in ipairs(fired) do
			local armed = false
			for _, mark in ipairs(marks(cap)) do armed = armed or percent == mark[1] and c[SETTLED] < mark[2] end
			if not armed then c.fired[#c.fired + 1] = percent end
		end
	end
	return true
end

-- turn rolls a count of the books.
local function turn(c)
	if roll(c) then dirtyCounts[c], wrote = true, true end
	return c
end

-- reset is when a rolling count has less, 0 for never and for other windows.
local function reset(c)
	local b = c.buckets
	return b and b[1] and leaves(c, b[1]) or 0
end

-- fits is when a request that was refused as spent fits, if what is held stays, unless that alone is in the way.
local function fits(c, asked, freed)
	local room, left = limitOf(c) - asked, c[SETTLED]
	local held, b = c[HELD] - freed, c.buckets or {}
	if held <= room then room = room - held end
	for i = 1, #b, 4 do
		left = minus(left, b[i + 1])
		if left <= room then return leaves(c, b[i]) end
	end
	return 0
end

local function put(ans, list, ...)
	local out = ans[list]
	if not out then
		out = {}
		ans[list] = out
	end
	for _, v in ipairs({...}) do out[#out + 1] = v end
end

local function cross(c, ans)
	local cap = caps[c[CAP]]
	if not cap or c[SETTLED] < cap.first then return end
	for _, mark in ipairs(marks(cap)) do
		if c[SETTLED] < mark[2] then return end
		local announced = false
		c.fired = c.fired or {}
		for _, percent in ipairs(c.fired) do announced = announced or percent == mark[1] end
		if not announced then
			c.fired[#c.fired + 1] = mark[1]
			put(ans, 'crossed', c[KEY], mark[1], c[SETTLED], cap.limit, reset(c))
		end
	end
end

local function countRuns(scopes, by)
	local list = runsIn(scopes)
	if list[1] then
		loadOpen(list)
		for _, run in ipairs(list) do open[run], dirtyOpen[run] = (open[run] or 0) + by, true end
	end
end

local function move(id, r, to, actual, ans)
	local from = r[STATE]
	local isOpen, wasUnconfirmed, isUnconfirmed = from == OPENED, from == CHARGED or from == EXPIRED, to == CHARGED or to == EXPIRED
	local bounds, befores, afters = vector(r[BOUND]), vector(r[ACTUAL]), vector(actual)
	local keep = r[EXPIRES]
	for i = FIRST, FIRST - 2 + 2 * r[N], 2 do
		local c = counts[r[i]]
		if c then
			local meter = c.meter
			local bound, before, after, over = bounds[meter] or 0, befores[meter] or 0, afters[meter] or 0, r[i + 1]
			local ends, change = c[ENDS], after - before
			if c.buckets then
				ends = leaves(c, bucketOf(c, r[ADMITTED]))
				roll(c)
			end
			dirtyCounts[c] = true
			if isOpen then
				c[HELD] = minus(c[HELD], bound)
				change = after - bound
			end
			if ends > keep then keep = ends end
			if (bound ~= 0 or before ~= 0 or after ~= 0) and (not c.buckets or now < ends) then -- else its bucket has left, and its spending with it
				local unsure, isUnsure = wasUnconfirmed and before or 0, isUnconfirmed and after or 0
				c[SETTLED] = plus(minus(c[SETTLED], before), after)
				if unsure ~= isUnsure then c[UNCONFIRMED] = plus(minus(c[UNCONFIRMED], unsure), isUnsure) end
				if change > 0 then
					local limit = limitOf(c)
					local above = max(after - bound, 0) - max(before - bound, 0)
					local unfit = limit and max(plus(c[SETTLED], c[HELD]) - plus(limit, c[OVERRUN]), 0) or 0
					local more = min(change, max(above, unfit))
					r[i + 1], c[OVERRUN] = plus(over, more), plus(c[OVERRUN], more)
				elseif over > 0 then
					local less = min(-change, over)
					r[i + 1], c[OVERRUN] = over - less, minus(c[OVERRUN], less)
				end
				local b = c.buckets
				if b then
					local start, k = bucketOf(c, r[ADMITTED]), 1
					while b[k] and b[k] < start do k = k + 4 end
					if b[k] ~= start then
						for j, v in ipairs({start, 0, 0, 0}) do table.insert(b, k + j - 1, v) end
					end
					b[k + 1] = plus(minus(b[k + 1], before), after)
					b[k + 2] = plus(minus(b[k + 2], unsure), isUnsure)
					b[k + 3] = plus(minus(b[k + 3], over), r[i + 1])
					if b[k + 1] == 0 then
						for _ = 1, 4 do table.remove(b, k) end
					end
				end
				if after > before then cross(c, ans) end
			end
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

--= ANSWER '<BHBBBddI4c0I4c0I4c0'
local numbers = {}

-- say writes an answer: about a reservation, if ans.row is one, and where counts stand, its own or those in ans.links.
local function say(ans)
	local r, list, n, extra = ans.row, ans.links, 0, ''
	local first, step, last = 1, 1, list and #list or 0
	if not list and r then
		list, first, step, last = r, FIRST, 2, FIRST - 2 + 2 * r[N]
	end
	for i = first, last, step do
		local c = ans.links and list[i] or counts[list[i]]
		if c then
			if c.buckets then turn(c) end
			local cap, k = caps[c[CAP]], 7 * n
			numbers[k + 1] = c.fresh and not dirtyCounts[c] and NOID or c.id
			numbers[k + 2], numbers[k + 3], numbers[k + 4], numbers[k + 5] = c[SETTLED], c[HELD], c[UNCONFIRMED], c[OVERRUN]
			numbers[k + 6], numbers[k + 7] = cap and cap.limit or -1, c.buckets and reset(c) or 0
			n = n + 1
		end
	end
	if ans.crossed or ans.expired or ans.frozen or ans.refused or ans.free then
		extra = encode({ans.crossed or {}, ans.expired or {}, ans.frozen or {}, ans.refused or {}, ans.free or {}})
	end
	local state, late, expires, bound, actual = 0, 0, 0, '', ''
	if r then state, late, expires, bound, actual = r[STATE], r[LATE], r[EXPIRES], r[BOUND], r[ACTUAL] end
	return spack(format(answerFormats, n, ANSWER, 'c8dddddd'), 65, n, ans.duplicate and 1 or 0, late, state, now, expires,
		#bound, bound, #actual, actual, #extra, extra, unpack(numbers, 1, 7 * n))
end

local function answer(r, ans) ans.row = r end

local nothingDue = false
local function sweep(most, ans)
	if nothingDue then return end
	local due = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, most)
	nothingDue = #due < most
	if #due == 0 then return end
	loadRows(due)
	for _, id in ipairs(due) do
		local r = row(id)
		if r and r[STATE] == OPENED and now >= r[EXPIRES] then
			if r[IDLE] == 1 or RELEASES == 1 then
				move(id, r, RELEASED, '', ans)
			else
				move(id, r, EXPIRED, r[BOUND], ans)
			end
			put(ans, 'expired', id)
		end -- else it ended, or was renewed, in this very batch
		call('ZREM', LEASES, id)
		if leases[id] == false then leases[id] = nil end
	end
end

-- runsOf calls f with the runs that a count is for.
local function runsOf(key, f)
	local n = 0
	for line in gmatch(key, '[^\n]+') do
		n = n + 1
		if n > 2 and sub(line, 1, 4) == 'run ' then f(line) end
	end
end

-- begin puts a count that is new into the books.
local function begin(c)
	local key = c[KEY]
	c.begun = true
	if c[ENDS] > 0 then call('ZADD', TURNS, c[ENDS], key) end
	runsOf(key, function(run) call('ZADD', RUNS, 0, run .. '\ncount\n' .. key) end)
end

local function drop(c)
	local key = c[KEY]
	counts[c.id], keyed[key], dirtyCounts[c] = false, false, nil
	call('HDEL', COUNTS, c.id)
	if c.old then call('HDEL', COUNTS, key) end
	call('HDEL', IDS, key)
	call('ZREM', TURNS, key)
	runsOf(key, function(run) call('ZREM', RUNS, run .. '\ncount\n' .. key) end)
end

-- compact forgets what nobody will ask for any more, a little at a time.
local nothingOld = false
local function compact(most)
	if nothingOld then return end
	local due = call('ZRANGEBYSCORE', ENDED, '-inf', now, 'LIMIT', 0, most)
	local many = min(most, call('ZCARD', ENDED) - KEEP)
	if many > #due then due = call('ZRANGE', ENDED, 0, many - 1) end
	loadRows(due)
	for _, id in ipairs(due) do
		local r = rows[id]
		if r then
			for i = FIRST, FIRST - 2 + 2 * r[N], 2 do
				local c = counts[r[i]]
				if c then
					c[LINKED], dirtyCounts[c] = c[LINKED] - 1, true
					roll(c)
					local empty = c.buckets and c[HELD] == 0 and not c.buckets[1]
					if c[LINKED] <= 0 and (c[OVER] > 0 or empty) then drop(c) end
				end
			end
		end
		rows[id], dirtyRows[id], ended[id] = false, nil, nil
	end
	each(due, function(first, last)
		call('HDEL', ROWS, unpack(due, first, last))
		call('ZREM', ENDED, unpack(due, first, last))
	end)
	local turned = call('ZRANGEBYSCORE', TURNS, '-inf', now, 'LIMIT', 0, most)
	if #turned > 0 then resolve(turned) end
	for _, key in ipairs(turned) do
		call('ZREM', TURNS, key)
		local c = keyed[key]
		if c and c[LINKED] > 0 then
			c[OVER], dirtyCounts[c] = max(c[OVER], 1), true
		elseif c then
			drop(c)
		end
	end
	nothingOld = #due == 0 and #turned == 0
	if not nothingOld then wrote = true end
end

-- Mostly nothing is frozen and no run was forgotten.
local anyRare
local function rareScopes()
	if anyRare == nil then anyRare = call('EXISTS', CLOSED, FREEZES) > 0 end
	return anyRare
end

local function closed(scope)
	if not rareScopes() then return false end
	local ends = call('ZSCORE', CLOSED, scope)
	return ends and now < tonumber(ends)
end

local function checkFreezes(scopes, ans)
	if not rareScopes() then return end
	local list = {}
	for s in gmatch(scopes, '[^\n]+') do list[#list + 1] = s end
	loadFreezes(list)
	for _, s in ipairs(list) do
		local f = freezes[s]
		if f then
			local ends = tonumber(match(f, '^%d+'))
			if ends > 0 and now >= ends then
				call('HDEL', FREEZES, s)
				freezes[s] = false
			else
				put(ans, 'frozen', s, f)
			end
		end
	end
end

local ops = {}
local function refuse(why, id, r) return {why, now, id, r and NAMES[r[STATE]] or ''} end

-- book admits without asking.
local function book(id, idle, swap, scopes, bound, list, lease)
	local r, asked, k = {3, #list, OPENED, idle, 0, 0, now, now + lease, 0, swap, scopes, bound, '', '', ''}, vector(bound), FIRST
	for i = 1, #list do
		local c = list[i]
		if c.fresh and not c.begun then begin(c) end
		c[HELD], c[LINKED], dirtyCounts[c] = plus(c[HELD], asked[c.meter] or 0), c[LINKED] + 1, true
		r[k], r[k + 1], k = c.id, 0, k + 2
	end
	countRuns(scopes, 1)
	leases[id], rows[id], dirtyRows[id], wrote = r[EXPIRES], r, true, true
	return r
end

-- reserve is asked with the ids of counts, or with their keys and windows.
local reserving = 0
local function reserve(ans, id, idle, swap, dry, known, lease, scopes, bound, links, first, last, step)
	local r = row(id)
	if r then
		if r[IDLE] ~= idle or r[SWAP] ~= swap or r[BOUND] ~= bound or r[SCOPES] ~= scopes then return refuse('mismatch', id, r) end
		if r[STATE] ~= OPENED then return refuse('finished', id, r) end
		if now >= r[EXPIRES] then return {'finished', now, id, 'expired'} end
		ans.duplicate = true
		return answer(r, ans)
	end
	if now < learning then return {'learning', now, learning} end
	if known < version then -- else nothing was changed since
		local need, list = shared, {}
		for s in gmatch(scopes, '[^\n]+') do list[#list + 1] = s end
		loadAnchors(list)
		for _, s in ipairs(list) do need = max(need, anchors[s] or 0) end
		if known < need then return {'stale', now, 'caps'} end
	end
	local list = {}
	for i = first, last, step do
		local c
		if step == 1 then
			c = counts[links[i]]
			if not c then return {'stale', now, 'names'} end
		else
			c = keyed[links[i]] or newCount(links[i], 0)
			if now < links[i + 1] then
				if not caps[c[CAP]] then return {'stale', now, 'caps'} end
				return {'stale', now, 'window'}
			end
		end
		if not caps[c[CAP]] then return {'stale', now, 'caps'} end
		if c[ENDS] > 0 and now >= c[ENDS] then return {'stale', now, 'window'} end
		list[#list + 1] = c
	end
	for _, run in ipairs(runsIn(scopes)) do
		if closed(run) then return {'closed', now, run} end
	end
	for i = 1, #list do
		if list[i][OVER] == 2 then -- a run of this name is still remembered
			compact(SWEEP)
			return {'closed', now, match(list[i][KEY], '\n(run [^\n]*)\n.*\n') or ''}
		end
	end
	local given = false
	if swap ~= '' then
		given = row(swap)
		if not given then return {'no swap', now, swap} end
		if given[IDLE] ~= 1 then return {'busy swap', now, swap, NAMES[given[STATE]]} end
	end
	if dry == 0 then
		sweep(SWEEP, ans)
		compact(SWEEP + 2 * reserving) -- once for all of the batch
		nothingOld = true
		given = swap ~= '' and row(swap)
		for i = 1, #list do -- what was dropped just now begins anew
			local c = list[i]
			if not counts[c.id] then list[i] = keyed[c[KEY]] or newCount(c[KEY], 0) end
		end
	end
	local free
	if given and given[STATE] == OPENED then
		local held = vector(given[BOUND])
		free = {}
		for i = FIRST, FIRST - 2 + 2 * given[N], 2 do
			local c = counts[given[i]]
			if c then free[c] = held[c.meter] or 0 end
		end
	end
	checkFreezes(scopes, ans)
	local asked = vector(bound)
	for i = 1, #list do
		local c = list[i]
		if c.buckets then turn(c) end
		local limit, n, freed = caps[c[CAP]].limit, asked[c.meter] or 0, free and free[c] or 0
		if n > 0 and limit and n > limit - plus(c[SETTLED], c[HELD]) + freed then
			local kind = 'spent'
			if n > limit then
				kind = 'too_big'
			elseif c[SETTLED] + n <= limit then
				kind = 'held'
			end
			put(ans, 'refused', c[KEY], kind, limit, c[SETTLED], c[HELD] - freed, n, kind == 'spent' and fits(c, n, freed) or 0)
		end
	end
	if ans.frozen or ans.refused or dry == 1 then
		ans.links = list
		if free then -- what a swap would free is left to it
			for i = 1, #list do put(ans, 'free', free[list[i]] or 0) end
		end
		return
	end
	if free then move(swap, given, RELEASED, '', ans) end
	answer(book(id, idle, swap, scopes, bound, list, lease), ans)
end

ops.reserve = function(a, ans)
	local _, id, idle, swap, dry, known, lease, scopes, bound, links = unpack(a)
	return reserve(ans, id, idle, swap, dry, known, lease, scopes, bound, links, 1, #links, 3)
end

local function settle(id, actual, ans)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[SAID] == 1 then
		if r[USAGE] ~= actual then return refuse('mismatch', id, r) end
		ans.duplicate = true
	elseif r[STATE] == VOIDED then
		return refuse('finished', id, r)
	else
		r[LATE] = (r[STATE] ~= OPENED or now >= r[EXPIRES]) and 1 or 0
		r[SAID], r[USAGE], dirtyRows[id], wrote = 1, actual, true, true
		if r[CORRECTIONS] == '' then move(id, r, SETTLED_AT, actual, ans) end -- a receipt knows better than usage after it
	end
	answer(r, ans)
end

ops.charge = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[STATE] == VOIDED then return refuse('finished', id, r) end
	if r[STATE] ~= OPENED then
		ans.duplicate = true
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, CHARGED, r[BOUND], ans)
	end
	answer(r, ans)
end

ops.void = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == SETTLED_AT then return refuse('finished', id, r) end
	if r[STATE] == VOIDED or r[STATE] == RELEASED then
		ans.duplicate = true
	else
		r[LATE] = (r[STATE] ~= OPENED or now >= r[EXPIRES]) and 1 or 0
		move(id, r, VOIDED, '', ans)
	end
	answer(r, ans)
end

ops.release = function(a, ans)
	local id = a[2]
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] ~= 1 then return refuse('not idle', id, r) end
	if r[STATE] ~= OPENED then
		ans.duplicate = true
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, RELEASED, '', ans)
	end
	answer(r, ans)
end

ops.renew = function(a, ans)
	local _, id, lease = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] ~= OPENED or now >= r[EXPIRES] then return refuse('finished', id, r) end
	r[EXPIRES], dirtyRows[id], wrote = now + lease, true, true
	leases[id] = r[EXPIRES]
	answer(r, ans)
end

ops['true-up'] = function(a, ans)
	local _, id, actual, source = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == OPENED then return refuse('still open', id, r) end
	local said = r[CORRECTIONS] == '' and {} or decode(r[CORRECTIONS])
	for i = 1, #said, 2 do
		if said[i] == source then
			if said[i + 1] ~= actual then return refuse('mismatch', id, r) end
			ans.duplicate = true
			return answer(r, ans)
		end
	end
	said[#said + 1], said[#said + 2] = source, actual
	r[CORRECTIONS] = encode(said)
	move(id, r, SETTLED_AT, actual, ans)
	answer(r, ans)
end

ops.sweep = function(a, ans)
	sweep(a[2], ans)
	compact(max(a[2], SWEEP))
end

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
			local seen = c and c[OVER] ~= 2 and {unpack(c, 1, KEY)} or {0, 0, 0, 0}
			if seen[KEY] then -- a copy: looking changes nothing
				seen.buckets = c.buckets
				roll(seen)
			end
			out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = key, seen[SETTLED], seen[HELD], seen[UNCONFIRMED], seen[OVERRUN]
			out[n + 6], out[n + 7] = cap.limit or -1, reset(seen)
		end
	end
	return {'ok', now, out}
end

-- names are the keys of counts that an answer had only the ids of; none of those that are gone.
ops.names = function(a)
	local out = {}
	loadCounts(a[2])
	for i, id in ipairs(a[2]) do out[i] = counts[id] and counts[id][KEY] or '' end
	return {'ok', now, out}
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
	anyRare = true
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
	loadOpen({run})
	if (open[run] or 0) > 0 then return {'run open', now, open[run]} end
	local prefix = run .. '\n'
	for _, member in ipairs(call('ZRANGEBYLEX', RUNS, '[' .. prefix, '(' .. run .. '\11')) do
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
		call('HSET', META, 'floor', floor)
	end
	call('HDEL', ANCHORS, run)
	call('HDEL', FREEZES, run)
	anchors[run], freezes[run] = false, false
	-- As long as reservations are kept that counted for it, nobody may begin the counts anew.
	local last = call('ZREVRANGE', ENDED, 0, 0, 'WITHSCORES')[2]
	call('ZREMRANGEBYSCORE', CLOSED, '-inf', now)
	call('ZADD', CLOSED, max(now + DEDUP, tonumber(last or 0)), run)
	anyRare, wrote = true, true
	return {'ok', now}
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
	return {'ok', now, out}
end

ops.scan = function(a)
	local _, cursor, since, kind = unpack(a)
	for id in pairs(dirtyRows) do -- an operation of this very batch
		if rows[id] then call('HSET', ROWS, id, packRow(rows[id])) end
	end
	local got, out = call('HSCAN', ROWS, cursor, 'COUNT', 500), {}
	for i = 1, #got[2], 2 do
		local v = got[2][i + 1]
		local r = byte(v) == 3 and {sunpack(ROW, v)} or oldRow(v)
		if r[ADMITTED] >= now - since then
			local names = ''
			for s in gmatch(r[SCOPES], '[^\n]+') do
				if sub(s, 1, #kind + 1) == kind .. ' ' or s == kind then names = names .. '\n' .. s end
			end
			if names ~= '' then out[#out + 1] = {got[2][i], names, NAMES[r[STATE]], 0, r[BOUND], r[ACTUAL], r[ADMITTED], r[EXPIRES]} end
		end
	end
	return {'ok', now, out, got[1]}
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

-- declare gives books that forgot what a process still knows: caps, counts at least this high, reservations it has open.
ops.declare = function(a)
	local _, defined, counted, held = unpack(a)
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
			cross(c, {}) -- announced long ago
			dirtyCounts[c], wrote = true, true
		end
	end
	for _, op in ipairs(held) do
		local _, id, idle, swap, _, _, lease, scopes, bound, links = unpack(op)
		if not row(id) then
			local list = {}
			for i = 1, #links, 3 do
				resolve({links[i]})
				list[#list + 1] = keyed[links[i]] or newCount(links[i], 0)
			end
			book(id, idle, swap, scopes, bound, list, lease)
		end
	end
	return {'ok', now}
end

-->
-- What operations will look at is read at once.
--= RESERVE 82 SETTLE 83
local batch, wantRows, wantCounts, wantKeys, wantRuns = {}, {}, {}, {}, {}
local byRow = {charge = true, void = true, release = true, renew = true, ['true-up'] = true}
for i = 2, #ARGV do
	local op = ARGV[i]
	local tag, low, high = byte(op, 1, 3)
	local a
	if tag == RESERVE then
		reserving = reserving + 1
		a = {sunpack(format(reserveFormats, low + 256 * high, '<BHBBddI4c0I4c0I4c0I4c0', 'c8'), op)}
		wantRows[#wantRows + 1] = a[7]
		if a[8] ~= '' then wantRows[#wantRows + 1] = a[8] end
		for k = 11, 10 + a[2] do wantCounts[#wantCounts + 1] = a[k] end
		for _, run in ipairs(runsIn(a[9])) do wantRuns[#wantRuns + 1] = run end
	elseif tag == SETTLE then
		a = {sunpack('<BI4c0I4c0', op)}
		wantRows[#wantRows + 1] = a[2]
	else
		a = decode(op)
		if byRow[a[1]] then
			wantRows[#wantRows + 1] = a[2]
		elseif a[1] == 'reserve' then
			reserving = reserving + 1
			wantRows[#wantRows + 1] = a[2]
			if a[4] ~= '' then wantRows[#wantRows + 1] = a[4] end
			for k = 1, #a[10], 3 do wantKeys[#wantKeys + 1] = a[10][k] end
			for _, run in ipairs(runsIn(a[8])) do wantRuns[#wantRuns + 1] = run end
		end
	end
	batch[i] = a
end
if #wantRows > 0 then
	loadRows(wantRows, wantCounts)
	for _, id in ipairs(wantRows) do
		local r = rows[id]
		if r then
			for _, run in ipairs(runsIn(r[SCOPES])) do wantRuns[#wantRuns + 1] = run end
		end
	end
	if #wantRuns > 0 then loadOpen(wantRuns) end
end
if #wantKeys > 0 then resolve(wantKeys) end

local out, ans = {}, {}
for i = 2, #ARGV do
	local a, said = batch[i]
	if a[1] == SETTLE then
		said = settle(a[2], a[3], ans)
	elseif a[1] == RESERVE then
		said = reserve(ans, a[7], a[3], a[8], a[4], a[5], a[6], a[9], a[10], a, 11, 10 + a[2], 1)
	else
		said = ops[a[1]](a, ans)
	end
	out[i] = said and encode(said) or say(ans)
	if next(ans) then ans = {} end
end

if wrote then
	seq = seq + 1
	writeSets()
	local list, ids = {}, {}
	for c in pairs(dirtyCounts) do
		local v = spack(SUMS, 3, c[1], c[2], c[3], c[4], c[5], c[6], c.same)
		if c.fired or c.buckets then v = v .. encode({c.fired or {}, c.buckets or {}}) end
		list[#list + 1], list[#list + 2] = c.id, v
		if c.fresh then ids[#ids + 1], ids[#ids + 2] = c[KEY], c.id end
		if c.old then call('HDEL', COUNTS, c[KEY]) end
	end
	each(list, function(first, last) call('HSET', COUNTS, unpack(list, first, last)) end)
	each(ids, function(first, last) call('HSET', IDS, unpack(ids, first, last)) end)
	list = {}
	for id in pairs(dirtyRows) do
		if rows[id] then list[#list + 1], list[#list + 2] = id, packRow(rows[id]) end
	end
	each(list, function(first, last) call('HSET', ROWS, unpack(list, first, last)) end)
	if schema < SCHEMA then call('HSET', META, 'schema', SCHEMA, 'old', 1) end
	call('HSET', META, 'seq', seq, 'clock', now)
	if version ~= tonumber(found[5] or -1) or shared ~= tonumber(found[6] or -1) or named ~= tonumber(found[10] or -1) or epoch ~= found[2] then
		call('HSET', META, 'epoch', epoch, 'version', version, 'shared', shared, 'named', named)
	end
end
out[1] = encode({'ok', now, epoch, seq, version})
return out
