-- Caps, amounts and counts: reading them, and counts that are new or of older schemas.

local function number(v) return tonumber(v) end
local anchors, loadAnchors = reader(ANCHORS, number)
local open, loadOpen = reader(OPEN, number)

-- A cap's text is "limit|percent:at,percent:at"; most settlements end below the first threshold, and never read the others.
local function limits(text)
	local limit, _, first = match(text, '^(%d*)[^|]*|(%d*):?(%d*)')
	return {limit = tonumber(limit), first = tonumber(first) or 2 * MAX, text = text}
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

--(
-- amounts writes a vector.
local function amounts(v)
	local custom, any = {}, false
	for meter, n in pairs(v) do
		any = any or n > 0
		if n > 0 and not tonumber(meter) then custom[#custom + 1] = string.format('%s=%.0f', meter, n) end
	end
	if not any then return '' end
	table.sort(custom)
	return spack('<dddd', v[1], v[2], v[3], v[4]) .. table.concat(custom, ' ')
end

local keyed, oldCount = {}
--)
local function keyOf(c)
	if not c[KEY] then c[KEY] = call('HGET', LABELS, c[ID]) end
	return c[KEY]
end

local more = false -- than the plainest form of the script can do
local counts, loadCounts = reader(COUNTS, function(v, id)
--(
	if byte(v) == 3 then return oldCount(v, id) end
--)
--! if byte(v) ~= 4 then
--! 	more = true
--! 	return false
--! end
	local c = {id, false, sunpack(CELL, v)}
	if c[SOFT] > 0 then
		local soft = decode(sub(v, c[REST]))
		c.fired = soft[1] or nil
		if c[SOFT] == 2 then
--(
			c.buckets, c.width, c.length = soft[3], soft[4], soft[5]
--)
--! 			more = true
		end
		if c[METER] == 0 then c.custom, c[METER] = soft[2], soft[2] end
	end
	return c
end)

-- What is written at the end: counts, rows by their names, leases and ends by id (false takes out), what runs have open.
local dirtyCounts, dirtyRows, leases, ended, dirtyOpen = {}, {}, {}, {}, {}

local function loadCapsOf(list)
	local ids, n = {}, 0
	for i = 1, #list do
		local c = counts[list[i]]
		if c then
			n = n + 1
			ids[n] = c[CAP]
		end
	end
	loadCaps(ids)
end

--(
-- runsOf calls f with the runs that a count is for.
local function runsOf(key, f)
	local n = 0
	for line in gmatch(key, '[^\n]+') do
		n = n + 1
		if n > 2 and sub(line, 1, 4) == 'run ' then f(line) end
	end
end

-- newCount is a count that is in the books only when it was begun. Its key has lines: meter, cap, scopes, start and end of its
-- window in nanoseconds, or 0 and how a rolling one rolls.
local function newCount(key, over, id)
	local meter, cap, ends = match(key, '^([^\n]*)\n([^\n]*)\n.*\n([^\n]+)$')
	local length, width = match(ends, '^rolling (%d+)/(%d+)$')
	local us = 0
	if not width and #ends > 3 then us = tonumber(sub(ends, 1, -4)) + (sub(ends, -3) ~= '000' and 1 or 0) end
	if not id then named = max(named, now) + 1 end
	local c = {id or spack('>d', named), key, 4, 0, 0, 0, 0, 0, 0, over, 0, 0, us, METERS[meter] or meter, cap, 0}
	c.fresh, c.unnamed = true, true
	runsOf(key, function() c[ONE] = 1 end)
	if not METERS[meter] then c.custom = meter end
	if width then c.width, c.length, c.buckets = tonumber(width), tonumber(length), {} end
	counts[c[ID]], keyed[key] = c, c
	loadCaps({cap})
	return c
end

-- oldCount is a count as schema 3 kept it.
function oldCount(v, id)
	local was = {sunpack('<BdddddddddBI2c0I2c0I4c0', v)}
	local c = newCount(was[14], was[7], id)
	for i = 1, 5 do c[SETTLED - 1 + i] = was[1 + i] end
	c.fresh = nil
	if was[15] <= #v then
		local soft = decode(sub(v, was[15]))
		c.fired = soft[1]
		if c.buckets then c.buckets = soft[2] end
	end
	return c
end

-- resolve loads counts by their keys.
local function resolve(keys)
	local want, ids, found = {}, {}, {}
	for _, key in ipairs(keys) do
		if keyed[key] == nil then want[#want + 1], keyed[key] = key, false end
	end
	for first = 1, #want, 4000 do
		local got = call('HMGET', IDS, unpack(want, first, min(first + 3999, #want)))
		for i = 1, #got do
			if got[i] then ids[#ids + 1], found[#ids + 1] = got[i], want[first - 1 + i] end
		end
	end
	loadCounts(ids)
	loadCapsOf(ids)
	for i, id in ipairs(ids) do
		local c = counts[id]
		if c then keyed[found[i]], c[KEY] = c, found[i] end
	end
	if old == 0 then return end
	for _, key in ipairs(want) do -- counts of schemas 1 and 2 have their keys for ids
		local v = not keyed[key] and call('HGET', COUNTS, key)
		if v then
			local was, c = decode(v), newCount(key, 0)
			for i = 1, 5 do c[SETTLED - 1 + i] = was[i] end
			c[OVER] = was[6]
			local fired = c.buckets and 8 or 7
			if c.buckets then c.buckets = was[7] end
			if #was >= fired then c.fired = {unpack(was, fired)} end
			c.begun, c.old, dirtyCounts[c] = true, true, true
		end
	end
end
--)
