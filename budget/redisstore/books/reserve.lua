-- Reserving and settling.

-- Runs that were forgotten, each looked up once.
local closedRuns = {}
local function closed(run)
	if closing == 0 then return false end
	local ends = closedRuns[run]
	if ends == nil then
		ends = tonumber(call('ZSCORE', CLOSED, run) or 0)
		closedRuns[run] = ends
	end
	return now < ends
end

-- book admits without asking. lent is what an allowance has lent that books have forgotten.
local function book(id, idle, swap, source, taken, scopes, bound, list, lease, lent)
	local n, runs, running = #list, #runsIn(scopes), 0
	if runs > 0 then
		running = 1
		for i = 1, runs == 1 and n or 0 do
			if list[i][ONE] == 1 then running = 0 end
		end
	end
	local r, asked = {4, n, 0, OPENED, idle, 0, 0, running, now, now + lease, 0, lent, '', '', swap, source, taken, scopes, bound, unpack(list)}, vector(bound)
	for i = 1, n do
		local c = list[i]
--(
		if c.fresh and not c.begun then begin(c) end
--)
		c[HELD], c[LINKED], c[OPENS], dirtyCounts[c] = plus(c[HELD], asked[c[METER]] or 0), c[LINKED] + 1, c[OPENS] + 1 - running, true
		r[FIRST - 1 + i] = c[ID]
	end
	if running == 1 then countRuns(scopes, 1) end
	leases[id], rows[id], dirtyRows[id], wrote = now + lease, r, true, true
	if now + lease < soonest then soonest = now + lease end
	return r
end

-- reserve is asked with the ids of counts, or with their keys and windows: links from first on.
local reserving = 0
local function reserve(a, links, first, step)
	local idle, dry, known, lease, id, swap, source, scopes, bound = a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]
	local r, last = row(id), first - 1 + step * a[2]
	if r then
		if r[IDLE] ~= idle or r[SWAP] ~= swap or r[FROM] ~= source or r[BOUND] ~= bound or r[SCOPES] ~= scopes then return refuse('mismatch', id, r) end
		if r[STATE] ~= OPENED then return refuse('finished', id, r) end
		if now >= r[EXPIRES] then return encode({'finished', now, id, 'expired'}) end
--(
		if r[IDLE] == 1 and r[ACTUAL] ~= '' then owes(id, r, '') end
--)
		return say(r, nil, true)
	end
	if now < learning then return encode({'learning', now, learning}) end
	if known < version then -- else nothing was changed since
		local need, list = shared, {}
		for s in gmatch(scopes, '[^\n]+') do list[#list + 1] = s end
		loadAnchors(list)
		for _, s in ipairs(list) do need = max(need, anchors[s] or 0) end
		if known < need then return encode({'stale', now, 'caps'}) end
	end
	local list, n = {}, 0
	for i = first, last, step do
		local c
--(
		if step == 3 then
			c = keyed[links[i]] or newCount(links[i], 0)
			if now < links[i + 1] then return encode({'stale', now, caps[c[CAP]] and 'window' or 'caps'}) end
		else
--)
			c = counts[links[i]]
			if not c then return encode({'stale', now, 'names'}) end
--(
		end
--)
		if not caps[c[CAP]] then return encode({'stale', now, 'caps'}) end
		if c[ENDS] > 0 and now >= c[ENDS] then return encode({'stale', now, 'window'}) end
		n = n + 1
		list[n] = c
	end
	if closing == 1 then
		for _, run in ipairs(runsIn(scopes)) do
			if closed(run) then return encode({'closed', now, run}) end
		end
	end
	for i = 1, n do
		if list[i][OVER] == 2 then -- a run of this name is still remembered
--(
			compact(SWEEP)
--)
			return encode({'closed', now, match(keyOf(list[i]), '\n(run [^\n]*)\n.*\n') or ''})
		end
	end
	local asked, free, given, lender, taken = vector(bound), false, false, false, ''
--(
	if swap ~= '' then
		given = row(swap)
		if not given then return encode({'no swap', now, swap}) end
		if given[IDLE] ~= 1 then return refuse('busy swap', swap, given) end
	end
	if source ~= '' then
		local s = row(source)
		if not s then return encode({'no from', now, source}) end
		if s[IDLE] ~= 1 then return refuse('busy from', source, s) end
	end
	if dry == 0 then
		sweep(SWEEP)
		compact(SWEEP + 2 * reserving) -- once for all of the batch
		nothingOld = true
		given = swap ~= '' and row(swap)
		for i = 1, n do -- what was dropped just now begins anew
			local c = list[i]
			if not counts[c[ID]] then list[i] = keyed[keyOf(c)] or newCount(keyOf(c), 0) end
		end
	end
	lender = allowance(source)
	if given and given[STATE] == OPENED or lender then
		free = {}
		local function mark(r, v, sign)
			eachCount(r, function(c, meter) free[c] = (free[c] or 0) + sign * (v[meter] or 0) end)
		end
		local back = {}
		if given and given[STATE] == OPENED then
			local lent = vector(given[ACTUAL])
			mark(given, vector(given[BOUND]), 1)
			mark(given, lent, -1)
			local to, n = returns(given, lent)
			if to then mark(to, n, -1) end
			if to and to == lender then back = n end
		end
		if lender and lender ~= given then mark(lender, drawable(asked, list, lender, back), 1) end
	end
	checkFreezes(scopes)
--)
	for i = 1, n do
		local c = list[i]
--(
		if c.buckets then turn(c) end
--)
		local limit, want, freed = caps[c[CAP]].limit, asked[c[METER]] or 0, free and free[c] or 0
		if want > 0 and limit and want > limit - plus(c[SETTLED], c[HELD]) + freed then
			local kind, when = 'spent', 0
			if want > limit then
				kind = 'too_big'
			elseif c[SETTLED] + want <= limit then
				kind = 'held'
			end
--(
			when = kind == 'spent' and fits(c, want, freed) or 0
--)
			put('refused', keyOf(c), kind, limit, c[SETTLED], c[HELD] - freed, want, when)
		end
	end
	if extras and (extras.frozen or extras.refused) or dry == 1 then
		if free then -- what a swap and a draw would free is left to it
			for i = 1, n do put('free', free[list[i]] or 0) end
		end
		return say(nil, list, false, step == 1)
	end
--(
	if given and given[STATE] == OPENED then move(swap, given, RELEASED, '') end
	lender = allowance(source)
	if lender then
		local d = drawable(asked, list, lender, {})
		taken = amounts(d)
		if taken ~= '' then lend(source, lender, d) end
	end
--)
	return say(book(id, idle, swap, source, taken, scopes, bound, list, lease, ''), nil, false, step == 1)
end

local function settle(id, actual, knows)
	local r, duplicate = row(id), false
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[SAID] == 1 then
		if r[USAGE] ~= actual then return refuse('mismatch', id, r) end
		duplicate = true
	elseif r[STATE] == VOIDED then
		return refuse('finished', id, r)
	else
		r[LATE] = (r[STATE] ~= OPENED or now >= r[EXPIRES]) and 1 or 0
		r[SAID], r[USAGE], dirtyRows[id], wrote = 1, actual, true, true
		if r[CORRECTIONS] == '' then move(id, r, SETTLED_AT, actual) end -- a receipt knows better than usage after it
	end
	return say(r, nil, duplicate, knows)
end
