-- Counts with a rolling window, whose spending is in buckets.

local function limitOf(c)
	local cap = caps[c[CAP]]
	return cap and cap.limit
end

--(
-- Of a rolling count: where the bucket begins that an instant lies in, when one leaves, and how the sums follow.
local function bucketOf(c, at) return at - math.fmod(at, c.width) end
local function leaves(c, start) return start + c.width + c.length end
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

-- spend changes the bucket of an instant.
local function spend(c, at, settled, unconfirmed, overrun)
	local b, start, k = c.buckets, bucketOf(c, at), 1
	while b[k] and b[k] < start do k = k + 4 end
	if b[k] ~= start then
		for j, v in ipairs({start, 0, 0, 0}) do table.insert(b, k + j - 1, v) end
	end
	b[k + 1], b[k + 2], b[k + 3] = settled(b[k + 1]), unconfirmed(b[k + 2]), overrun(b[k + 3])
	if b[k + 1] == 0 then
		for _ = 1, 4 do table.remove(b, k) end
	end
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
--)
