-- What a batch of operations does to one account's books. Rules: see package budget and budget/internal/rules.
--
-- ARGV[1] is a header, every further argument one operation. The reply is a header and one answer for each operation.
-- Reserving, settling and what is answered to them are structs, since those are most of the work; the rest is msgpack. Rows
-- that are touched are read once, changed here and written at the end.
--
-- Numbers are doubles: every amount, sum and microsecond stays below 2^53, and a sum that reaches it stays there.
--
-- Lines of --= give names to constants, which are written into the script before it is sent: a function may use only so many
-- variables of the script, looks through all of them when it is made, and constants are faster.
--
-- Making the functions costs as much as two reservations, so the script is sent in three forms. What stands between --< and
-- --> is left out where only reservations are spoken of. What stands between --( and --) is left out, too, where they are
-- only reserved and settled in the plainest way; there what follows --! stands instead, and says MORE when it finds something
-- that is not plain, before it has written anything.
--= MAX 9007199254740992
--= SWEEP 8 KEEP_CHANGES 1000 KEEP_GONE 1024

-- The plainest form is given only the first ten.
--= META KEYS[1] CAPS KEYS[2] ANCHORS KEYS[3] CLOSED KEYS[4] COUNTS KEYS[5] ROWS KEYS[6]
--= LEASES KEYS[7] ENDED KEYS[8] OPEN KEYS[9] LABELS KEYS[10]
--= RECORDS KEYS[11] VERSIONS KEYS[12] GONE KEYS[13] FREEZES KEYS[14] TURNS KEYS[15] RUNS KEYS[16]
--= CHANGES KEYS[17] IDS KEYS[18] LENT KEYS[19]
local call, encode, decode, spack, sunpack = redis.call, cmsgpack.pack, cmsgpack.unpack, struct.pack, struct.unpack
local max, min = math.max, math.min
local match, gmatch, sub, find, byte, rep = string.match, string.gmatch, string.sub, string.find, string.byte, string.rep

--= INSPECT header[1] TEND header[2] CREATE header[3] RELEASES header[4] LEARN header[5] SCHEMA header[6] SEEN header[7] KEEP header[8]
--= DEDUP header[9] LEASE header[10] AHEAD header[11] KNOWN header[12] FRESH header[13]
local header = {sunpack('<BBBBBBdddddI2c0I2c0', ARGV[1])}
--= MORE '\217'

-- Of a reservation, after the schema. The ids of N counts follow and, if OVERS is 1, what it added to the overrun of each.
-- ACTUAL is, while it is open, what was drawn from it. SAID is 2 in the books when USAGE is ACTUAL. RUNNING is 1 if it is in
-- what its runs have open, and not in the OPENS of its counts.
--= N 2 OVERS 3 STATE 4 IDLE 5 LATE 6 SAID 7 RUNNING 8 ADMITTED 9 EXPIRES 10 KEPT 11 ACTUAL 12 USAGE 13 CORRECTIONS 14 SWAP 15 FROM 16
--= TAKEN 17 SCOPES 18 BOUND 19 FIRST 20
--= ROW '<BHBBBBBBdddI4c0I4c0I4c0I4c0I4c0I4c0I4c0I4c0'
--= OPENED 1 SETTLED_AT 2 CHARGED 3 EXPIRED 4 VOIDED 5 RELEASED 6
local NAMES = {'open', 'settled', 'charged', 'expired', 'voided', 'released'}

-- Of a count. What only few have follows in the books: c.fired, the thresholds that were announced, c.custom, its meter if that is
-- none of METERS, and, if SOFT is 2, c.buckets, c.width and c.length of a rolling window: start, settled, unconfirmed and overrun of
-- each, the oldest first, none without spending. OVER is 1 when its window has ended and 2 when its run was forgotten; ends is
-- 0 for never. ONE is 1 if it is for a run, OPENS how many reservations are open that are not in what runs have open. Its key is read
-- when it is needed. Its id is never given to another, also not by books that forgot, because the time is in it.
--= ID 1 KEY 2 SETTLED 4 HELD 5 UNCONFIRMED 6 OVERRUN 7 LINKED 8 OPENS 9 OVER 10 SOFT 11 ONE 12 ENDS 13 METER 14 CAP 15 REST 16
--= CELL '<BddddddBBBdBI2c0'
local METERS = {money = 1, tokens = 2, requests = 3, tool_calls = 4}
--= NOID '\0\0\0\0\0\0\0\0'

-- Of the books: the number of the last change, the highest time, the version of the caps and of those for everybody, until
-- when nothing is reserved, the oldest version that changes are known since, the last id of a count; when, at the earliest,
-- a lease runs out and something may be forgotten; whether there are rows of older schemas, freezes, closed runs; their epoch
-- and the one that they learn from.
--= BOOKS '<dddddddddBBBI2c0I2c0'
local found = call('HMGET', META, 'schema', 'books')
local seq, clock, version, shared, learning, floor, named, soonest, oldest = 0, 0, 0, 0, 0, 0, 0, 0, 0
local old, frozen, closing, epoch, from = 0, 0, 0, '', ''
local time = call('TIME')
local schema = tonumber(found[1] or SCHEMA) or -1
if schema < 1 or schema > SCHEMA then return {encode({'schema', schema})} end
local missing = not found[1]
if found[2] then
	seq, clock, version, shared, learning, floor, named, soonest, oldest, old, frozen, closing, epoch, from = sunpack(BOOKS, found[2])
--(
elseif not missing then
	local was = call('HMGET', META, 'epoch', 'seq', 'clock', 'version', 'shared', 'learning', 'from', 'floor', 'named')
	epoch, from, old, frozen, closing = was[1], was[7] or '', 1, call('EXISTS', FREEZES), call('EXISTS', CLOSED)
	seq, clock, version, shared, learning, floor, named = tonumber(was[2] or 0), tonumber(was[3] or 0), tonumber(was[4] or 0), tonumber(was[5] or 0),
		tonumber(was[6] or 0), tonumber(was[8] or 0), tonumber(was[9] or 0)
--)
end
local now = max(time[1] * 1000000 + time[2] + AHEAD, clock)
local wrote = false

local forgot = KNOWN ~= '' and (missing or epoch ~= KNOWN or seq < SEEN)
if forgot and LEARN == 0 then return {encode({'forgot'})} end
--! if missing or schema < SCHEMA or frozen == 1 or now >= soonest or now < learning then return {MORE} end
--(
if INSPECT == 1 then
	local policy = match(call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
	if policy and policy ~= 'noeviction' then return {encode({'evicts', policy})} end
end
if missing and CREATE == 0 and KNOWN == '' then return {encode({'missing'})} end
if missing then
	-- Versions of caps begin with the time, so that none of an earlier life is taken for one of this.
	epoch, version, shared, floor, wrote = FRESH, now, now, now, true
end
if forgot then
	if epoch == KNOWN then epoch = FRESH end -- the same books, but older than what was answered before
	if from ~= KNOWN then learning, from = max(learning, now + LEASE), KNOWN end
	seq, wrote = max(seq, SEEN), true
end
--)

local function plus(a, b)
	a = a + b
	if a > MAX then return MAX end
	return a
end
local function minus(a, b)
	if a >= MAX then return a end
	if a > b then return a - b end
	return 0
end

-- many calls a command with a list, 4000 of it at once, which is what fits on the stack.
local function many(command, key, list)
	for first = 1, #list, 4000 do call(command, key, unpack(list, first, min(first + 3999, #list))) end
end

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
		for first = 1, n, 4000 do
			local got = call('HMGET', key, unpack(want, first, min(first + 3999, n)))
			for i = 1, #got do
				local v = got[i]
				if v then
					local f = want[first - 1 + i]
					cache[f] = read(v, f)
				end
			end
		end
	end
	return cache, load
end
