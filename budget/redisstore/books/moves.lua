-- What ends and corrects a reservation, what is drawn from an allowance, and how answers are written.

-- put adds to what only few answers have; the main loop takes it out.
local extras
local function put(name, ...)
	extras = extras or {}
	local out = extras[name]
	if not out then
		out = {}
		extras[name] = out
	end
	for i = 1, select('#', ...) do out[#out + 1] = (select(i, ...)) end
end

local function cross(c)
	local cap = caps[c[CAP]]
	if not cap or c[SETTLED] < cap.first then return end
	for _, mark in ipairs(marks(cap)) do
		if c[SETTLED] < mark[2] then return end
		local announced = false
		c.fired = c.fired or {}
		for _, percent in ipairs(c.fired) do announced = announced or percent == mark[1] end
		if not announced then
			c.fired[#c.fired + 1] = mark[1]
			local when = 0
--(
			when = reset(c)
--)
			put('crossed', keyOf(c), mark[1], c[SETTLED], cap.limit, when)
		end
	end
end

local function countRuns(scopes, by)
	local list = runsIn(scopes)
	if list[1] then
		loadOpen(list)
		for i = 1, #list do
			local run = list[i]
			open[run], dirtyOpen[run] = (open[run] or 0) + by, true
		end
	end
end

--(
-- allowance is what may be drawn from, and what is drawn returns to: false if that does not stand any more.
local function allowance(id)
	local r = id ~= '' and row(id)
	return r and r[STATE] == OPENED and r[IDLE] == 1 and now < r[EXPIRES] and r
end

-- eachCount calls f with the counts of a reservation.
local function eachCount(r, f)
	for i = FIRST, FIRST - 1 + r[N] do
		local c = counts[r[i]]
		if c then f(c, c[METER]) end
	end
end

-- drawable is what bound can have of an allowance to which back has returned before, of each meter.
local function drawable(bound, list, r, back)
	local d, mine, all, lent = {0, 0, 0, 0}, {}, vector(r[BOUND]), vector(r[ACTUAL])
	for meter, n in pairs(bound) do d[meter] = max(min(n, (all[meter] or 0) - (lent[meter] or 0) + (back[meter] or 0)), 0) end
	for i = 1, #list do mine[list[i]] = true end
	eachCount(r, function(c, meter)
		if not mine[c] then d[meter] = 0 end
	end)
	return d
end

-- lend changes what was drawn from an allowance: its counts hold the rest.
local function lend(id, r, change)
	local lent = {0, 0, 0, 0}
	for meter, n in pairs(vector(r[ACTUAL])) do lent[meter] = n end
	for meter, n in pairs(change) do lent[meter] = (lent[meter] or 0) + n end
	r[ACTUAL], dirtyRows[id], wrote = amounts(lent), true, true
	eachCount(r, function(c, meter)
		local n = change[meter] or 0
		if n > 0 then c[HELD] = minus(c[HELD], n) else c[HELD] = plus(c[HELD], -n) end
		dirtyCounts[c] = true
	end)
end

-- returns is what goes back to which allowance when an open reservation ends with used.
local function returns(r, used)
	local a = r[TAKEN] ~= '' and allowance(r[FROM])
	if not a or a[ADMITTED] > r[ADMITTED] then return false, {} end -- the latter was made when the first of that name was forgotten
	local back, bound, lent = {}, vector(r[BOUND]), vector(a[ACTUAL])
	for meter, n in pairs(vector(r[TAKEN])) do back[meter] = max(min(n, (bound[meter] or 0) - (used[meter] or 0), lent[meter] or 0), 0) end
	return a, back
end

-- owes says, for books that forget, what was drawn from an allowance.
local function owes(id, r, taken) put('lent', id, r[ACTUAL], seq + 1, taken) end
--)

local function move(id, r, to, actual)
	local from, n, admitted = r[STATE], r[N], r[ADMITTED]
	local isOpen, wasUnconfirmed, isUnconfirmed = from == OPENED, from == CHARGED or from == EXPIRED, to == CHARGED or to == EXPIRED
	local bounds, befores, afters = vector(r[BOUND]), vector(r[ACTUAL]), vector(actual)
	local keep, opened = r[EXPIRES], 1 - r[RUNNING]
	for i = FIRST, FIRST - 1 + n do
		local c = counts[r[i]]
		if c then
			local meter, ends, there = c[METER], c[ENDS], true
			local bound, before, after = bounds[meter] or 0, befores[meter] or 0, afters[meter] or 0
			local change = after - before
--(
			if c.buckets then
				ends = leaves(c, bucketOf(c, admitted))
				roll(c)
				there = now < ends -- else its bucket has left, and its spending with it
			end
--)
			dirtyCounts[c] = true
			if isOpen then -- what was drawn from it others hold, or have used
				c[HELD], c[OPENS] = minus(c[HELD], bound - before), c[OPENS] - opened
				change, before = after - bound, 0
			end
			if ends > keep then keep = ends end
			if there and (bound ~= 0 or before ~= 0 or after ~= 0) then
				local unsure, isUnsure = wasUnconfirmed and before or 0, isUnconfirmed and after or 0
				local over = r[OVERS] == 1 and r[i + n] or 0
				local overAfter = over
				c[SETTLED] = plus(minus(c[SETTLED], before), after)
				if unsure ~= isUnsure then c[UNCONFIRMED] = plus(minus(c[UNCONFIRMED], unsure), isUnsure) end
				if change > 0 then
					local limit = limitOf(c)
					local above = max(after - bound, 0) - max(before - bound, 0)
					local unfit = limit and max(plus(c[SETTLED], c[HELD]) - plus(limit, c[OVERRUN]), 0) or 0
					local more = min(change, max(above, unfit))
					overAfter, c[OVERRUN] = plus(over, more), plus(c[OVERRUN], more)
				elseif over > 0 then
					local less = min(-change, over)
					overAfter, c[OVERRUN] = over - less, minus(c[OVERRUN], less)
				end
				if overAfter ~= over then
					if r[OVERS] == 0 then
						for k = FIRST + n, FIRST - 1 + 2 * n do r[k] = 0 end
						r[OVERS] = 1
					end
					r[i + n] = overAfter
				end
--(
				if c.buckets then
					spend(c, admitted, function(v) return plus(minus(v, before), after) end, function(v) return plus(minus(v, unsure), isUnsure) end,
						function(v) return plus(minus(v, over), overAfter) end)
				end
--)
				if after > before then cross(c) end
			end
		end
	end
--(
	if isOpen and r[FROM] ~= '' then
		local a, back = returns(r, r[IDLE] == 1 and befores or afters)
		if a then
			for meter, v in pairs(back) do back[meter] = -v end
			lend(r[FROM], a, back)
			owes(r[FROM], a, '')
		end
		r[TAKEN] = ''
	end
--)
	r[STATE], r[ACTUAL] = to, actual
	if isOpen then
		keep = keep + DEDUP
		-- All of a month are kept until the same instant: those that ended first go first, by a second's turn within the last minute.
		local rest = min(max(keep - now, 0), 32000000000000)
		keep = keep + 40000000 - (rest - rest % 1000000) / 1000000
		r[KEPT] = keep
		leases[id], ended[id] = false, keep
		if keep < oldest then oldest = keep end
		if r[RUNNING] == 1 then countRuns(r[SCOPES], -1) end
	end
	dirtyRows[id], wrote = true, true
end

-- The short form of an answer is for who has named the counts, or knows them: only what is settled and held, and the limit.
--= ANSWER '<BBHBBBddI4c0I4c0I4c0' SHORT 0 LONG 1
local numbers = {}

-- say writes an answer: about a reservation, if r is one, and where counts stand, its own or those in list.
local function say(r, list, duplicate, knows)
	local first, n, link, extra, form = FIRST, 0, 'ddd', '', SHORT
	local last = r and FIRST - 1 + r[N]
	if list then first, last = 1, #list end
	if knows then
		local k = 0
		for i = first, last do
			local c = list and list[i] or counts[r[i]]
			if not c or c[UNCONFIRMED] ~= 0 or c[OVERRUN] ~= 0 or c.buckets or c.fresh then
				form = LONG
				break
			end
			local cap = caps[c[CAP]]
			numbers[k + 1], numbers[k + 2], numbers[k + 3], k = c[SETTLED], c[HELD], cap and cap.limit or -1, k + 3
			n = n + 1
		end
	end
	if not knows or form == LONG then
		form, link, n = LONG, 'c8dddddd', 0
		for i = first, last or 0 do
			local c = list and list[i] or counts[r[i]]
			if c then
				local cap, k, when = caps[c[CAP]], 7 * n, 0
--(
				if c.buckets then
					turn(c)
					when = reset(c)
				end
--)
				numbers[k + 1] = c.fresh and not dirtyCounts[c] and NOID or c[ID]
				numbers[k + 2], numbers[k + 3], numbers[k + 4], numbers[k + 5] = c[SETTLED], c[HELD], c[UNCONFIRMED], c[OVERRUN]
				numbers[k + 6], numbers[k + 7] = cap and cap.limit or -1, when
				n = n + 1
			end
		end
	end
--(
	if r and r[STATE] == OPENED and r[TAKEN] ~= '' then
		local a = row(r[FROM])
		if a then owes(r[FROM], a, r[TAKEN]) end
	end
--)
	if extras then
		extra = encode({extras.crossed or {}, extras.expired or {}, extras.frozen or {}, extras.refused or {}, extras.free or {}, extras.lent or {}})
		extras = nil
	end
	if r then
		return spack(format(link, n, ANSWER, link), 65, form, n, duplicate and 1 or 0, r[LATE], r[STATE], now, r[EXPIRES],
			#r[BOUND], r[BOUND], #r[ACTUAL], r[ACTUAL], #extra, extra, unpack(numbers, 1, (form == SHORT and 3 or 7) * n))
	end
	return spack(format(link, n, ANSWER, link), 65, form, n, 0, 0, 0, now, 0, 0, '', 0, '', #extra, extra, unpack(numbers, 1, (form == SHORT and 3 or 7) * n))
end

local function refuse(why, id, r) return encode({why, now, id, r and NAMES[r[STATE]] or ''}) end
