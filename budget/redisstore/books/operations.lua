-- All other operations on one reservation.

--(
local ops = {}

ops.reserve = function(a)
	local _, id, idle, swap, dry, known, lease, scopes, bound, links, source = unpack(a)
	return reserve({82, #links / 3, idle, dry, known, lease, id, swap, source, scopes, bound}, links, 1, 3)
end

ops.charge = function(a)
	local id, duplicate = a[2], false
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] == 1 then return refuse('not idle', id, r) end
	if r[STATE] == VOIDED then return refuse('finished', id, r) end
	if r[STATE] ~= OPENED then
		duplicate = true
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, CHARGED, r[BOUND])
	end
	return say(r, nil, duplicate)
end

ops.void = function(a)
	local id, duplicate = a[2], false
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == SETTLED_AT then return refuse('finished', id, r) end
	if r[STATE] == VOIDED or r[STATE] == RELEASED then
		duplicate = true
	else
		r[LATE] = (r[STATE] ~= OPENED or now >= r[EXPIRES]) and 1 or 0
		move(id, r, VOIDED, '')
	end
	return say(r, nil, duplicate)
end

ops.release = function(a)
	local id, duplicate = a[2], false
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[IDLE] ~= 1 then return refuse('not idle', id, r) end
	if r[STATE] ~= OPENED then
		duplicate = true
	else
		r[LATE] = now >= r[EXPIRES] and 1 or 0
		move(id, r, RELEASED, '')
	end
	return say(r, nil, duplicate)
end

ops.renew = function(a)
	local _, id, lease = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] ~= OPENED or now >= r[EXPIRES] then return refuse('finished', id, r) end
	r[EXPIRES], dirtyRows[id], wrote = now + lease, true, true
	leases[id], soonest = now + lease, min(soonest, now + lease)
	if r[IDLE] == 1 and r[ACTUAL] ~= '' then owes(id, r, '') end
	return say(r)
end

ops['true-up'] = function(a)
	local _, id, actual, source = unpack(a)
	local r = row(id)
	if not r then return refuse('unknown', id) end
	if r[STATE] == OPENED then return refuse('still open', id, r) end
	local said = r[CORRECTIONS] == '' and {} or decode(r[CORRECTIONS])
	for i = 1, #said, 2 do
		if said[i] == source then
			if said[i + 1] ~= actual then return refuse('mismatch', id, r) end
			return say(r, nil, true)
		end
	end
	said[#said + 1], said[#said + 2] = source, actual
	r[CORRECTIONS] = encode(said)
	move(id, r, SETTLED_AT, actual)
	return say(r)
end

ops.sweep = function(a)
	sweep(a[2])
	compact(max(a[2], SWEEP))
	return say()
end
--)
