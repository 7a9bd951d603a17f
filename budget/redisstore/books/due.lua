-- What is due: leases that ran out, what may be forgotten, freezes that are over.

--(
local nothingDue = false
local function sweep(most)
	if nothingDue or now < soonest then return end
	local due = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, most)
	nothingDue = #due < most
	if #due > 0 then
		loadRows(due)
		wrote = true
	end
	for _, id in ipairs(due) do
		local r = row(id)
		if r and r[STATE] == OPENED and now >= r[EXPIRES] then
			if r[IDLE] == 1 or RELEASES == 1 then
				move(id, r, RELEASED, '')
			else
				move(id, r, EXPIRED, r[BOUND])
			end
			put('expired', id)
		end -- else it ended, or was renewed, in this very batch
		call('ZREM', LEASES, id)
		if leases[id] == false then leases[id] = nil end
	end
	if nothingDue then
		soonest = tonumber(call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2] or MAX)
		for _, ends in pairs(leases) do soonest = min(soonest, ends or MAX) end
		wrote = true
	end
end

-- begin puts a count that is new into the books.
local function begin(c)
	local key = keyOf(c)
	c.begun = true
	if c[ENDS] > 0 then
		call('ZADD', TURNS, c[ENDS], key)
		oldest = min(oldest, c[ENDS])
	end
	runsOf(key, function(run) call('ZADD', RUNS, 0, run .. '\ncount\n' .. key) end)
end

local function drop(c)
	local key = keyOf(c)
	counts[c[ID]], keyed[key], dirtyCounts[c] = false, false, nil
	call('HDEL', COUNTS, c[ID])
	if c.old then call('HDEL', COUNTS, key) end
	call('HDEL', IDS, key)
	call('HDEL', LABELS, c[ID])
	call('ZREM', TURNS, key)
	runsOf(key, function(run) call('ZREM', RUNS, run .. '\ncount\n' .. key) end)
end

-- compact forgets what nobody will ask for any more, a little at a time.
local nothingOld = false
local function compact(most)
	if nothingOld then return end
	local many = min(most, call('ZCARD', ENDED) - KEEP)
	if now < oldest and many <= 0 then
		nothingOld = true
		return
	end
	local due = call('ZRANGEBYSCORE', ENDED, '-inf', now, 'LIMIT', 0, most)
	if many > #due then due = call('ZRANGE', ENDED, 0, many - 1) end
	loadRows(due)
	for _, id in ipairs(due) do
		local r = rows[id]
		if r then
			eachCount(r, function(c)
				c[LINKED], dirtyCounts[c] = c[LINKED] - 1, true
				roll(c)
				local empty = c.buckets and c[HELD] == 0 and not c.buckets[1]
				if c[LINKED] <= 0 and (c[OVER] > 0 or empty) then drop(c) end
			end)
		end
		rows[id], dirtyRows[id], ended[id] = false, nil, nil
	end
	for first = 1, #due, 4000 do
		call('HDEL', ROWS, unpack(due, first, min(first + 3999, #due)))
		call('ZREM', ENDED, unpack(due, first, min(first + 3999, #due)))
	end
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
	nothingOld, wrote = #due < most and #turned < most, true
	if nothingOld then
		oldest = min(tonumber(call('ZRANGE', ENDED, 0, 0, 'WITHSCORES')[2] or MAX), tonumber(call('ZRANGE', TURNS, 0, 0, 'WITHSCORES')[2] or MAX))
		for _, ends in pairs(ended) do oldest = min(oldest, ends or MAX) end
	end
end

local freezes, loadFreezes = reader(FREEZES, function(v) return v end)

local function checkFreezes(scopes)
	if frozen == 0 then return end
	local list = {}
	for s in gmatch(scopes, '[^\n]+') do list[#list + 1] = s end
	loadFreezes(list)
	for _, s in ipairs(list) do
		local f = freezes[s]
		if f then
			local ends = tonumber(match(f, '^%d+'))
			if ends > 0 and now >= ends then
				call('HDEL', FREEZES, s)
				freezes[s], frozen, wrote = false, call('EXISTS', FREEZES), true
			else
				put('frozen', s, f)
			end
		end
	end
end
--)
