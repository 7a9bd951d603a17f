-- Reservations: reading and writing them, and their places in the sets of leases, ends and runs.

--(
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
	local was
	if byte(v) == 3 then
		local low, high = byte(v, 2, 3)
		was = {sunpack('<BHBBBBdddI4c0I4c0I4c0I4c0I4c0I4c0' .. rep('c8d', low + 256 * high), v)}
	else
		local text, states = decode(v), {}
		for i, name in ipairs(NAMES) do states[name] = i end
		local keys, said = {}, text[14]
		for i = 2, #said, 2 do said[i] = amountsOf(said[i]) end
		for i = 1, #text[13], 2 do keys[#keys + 1] = text[13][i] end
		resolve(keys)
		was = {3, #keys, states[text[1]], text[2], text[3], text[4], text[5], text[6], text[7], text[8], '\n' .. table.concat(text[9], '\n'),
			amountsOf(text[10]), amountsOf(text[11]), amountsOf(text[12]), #said > 0 and encode(said) or ''}
		for i, key in ipairs(keys) do
			was[#was + 1] = (keyed[key] or newCount(key, 1))[ID]
			was[#was + 1] = text[13][2 * i]
		end
	end
	local n = was[2]
	local r = {4, n, 1, was[3], was[4], was[5], was[6], 1, was[7], was[8], was[9], was[13], was[14], was[15], was[10], '', '', was[11], was[12]}
	for i = 1, n do r[FIRST - 1 + i], r[FIRST - 1 + n + i] = was[14 + 2 * i], was[15 + 2 * i] end
	return r
end
--)

local formats = {}
local function format(name, n, head, link)
	local cache = formats[name]
	if not cache then
		cache = {}
		formats[name] = cache
	end
	local f = cache[n]
	if not f then
		f = head .. rep(link, n)
		cache[n] = f
	end
	return f
end

local function rowFormat(n, overs)
	if overs == 0 then return format('row', n, ROW, 'c8') end
	return format('row', n, ROW, 'c8') .. rep('d', n)
end

local rows, loadRowsAlone = reader(ROWS, function(v)
	local form, low, high, overs = byte(v, 1, 4)
--(
	if form ~= 4 then return oldRow(v) end
--)
--! if form ~= 4 then
--! 	more = true
--! 	return false
--! end
	local r = {sunpack(rowFormat(low + 256 * high, overs), v)}
	if r[SAID] == 2 then r[SAID], r[USAGE] = 1, r[ACTUAL] end
--! 	more = more or r[FROM] ~= ''
	return r
end)

local function packRow(r)
	local n, overs, said, usage = r[N], r[OVERS], r[SAID], r[USAGE]
	if said == 1 and usage == r[ACTUAL] then said, usage = 2, '' end
	return spack(rowFormat(n, overs), 4, n, overs, r[STATE], r[IDLE], r[LATE], said, r[RUNNING], r[ADMITTED], r[EXPIRES], r[KEPT], #r[ACTUAL], r[ACTUAL],
		#usage, usage, #r[CORRECTIONS], r[CORRECTIONS], #r[SWAP], r[SWAP], #r[FROM], r[FROM], #r[TAKEN], r[TAKEN], #r[SCOPES], r[SCOPES],
		#r[BOUND], r[BOUND], unpack(r, FIRST, FIRST - 1 + n + n * overs))
end

-- loadRows loads rows with all their counts, and those of the ids in more.
local function loadRows(ids, more)
	loadRowsAlone(ids)
	local want = more or {}
	local k = #want
	for i = 1, #ids do
		local r = rows[ids[i]]
		if r then
			for j = FIRST, FIRST - 1 + r[N] do
				k = k + 1
				want[k] = r[j]
			end
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
		local first, last, run = find(scopes, '\n(run [^\n]*)')
		list = {}
		while first do
			list[#list + 1] = run
			first, last, run = find(scopes, '\n(run [^\n]*)', last + 1)
		end
		scopeRuns[scopes] = list
	end
	return list
end

local function writeSet(key, list)
	local add, rem, n = {}, {}, 0
	for id, score in pairs(list) do
		if score then
			add[n + 1], add[n + 2], n = score, id, n + 2
		else
			rem[#rem + 1] = id
		end
	end
	if n > 0 then many('ZADD', key, add) end
	if rem[1] then many('ZREM', key, rem) end
end

local function writeSets()
	writeSet(LEASES, leases)
	writeSet(ENDED, ended)
	local set, gone, n = {}, {}, 0
	for run in pairs(dirtyOpen) do
		if open[run] > 0 then
			set[n + 1], set[n + 2], n = run, open[run], n + 2
		else
			gone[#gone + 1] = run
		end
	end
	if n > 0 then many('HSET', OPEN, set) end
	if gone[1] then many('HDEL', OPEN, gone) end
	leases, ended, dirtyOpen = {}, {}, {}
end
