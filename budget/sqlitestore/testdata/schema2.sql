BEGIN TRANSACTION;
CREATE TABLE budget_account (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL UNIQUE,
		version INTEGER NOT NULL, -- of its caps
		floor INTEGER NOT NULL,   -- removed caps are listed after this version
		edits INTEGER NOT NULL,   -- of freezes and forgotten runs
		ended INTEGER NOT NULL    -- reservations kept that have ended
		) STRICT;
INSERT INTO "budget_account" VALUES(1,'default',1,0,0,2);
CREATE TABLE budget_cap (
		account INTEGER NOT NULL,
		key TEXT NOT NULL,
		target TEXT NOT NULL,
		meter TEXT NOT NULL,
		per TEXT NOT NULL,
		most INTEGER NOT NULL,
		soft TEXT,
		version INTEGER NOT NULL,
		author TEXT NOT NULL,
		at INTEGER NOT NULL,
		removed INTEGER NOT NULL, -- kept while counts refer to it
		PRIMARY KEY (account, key)) STRICT, WITHOUT ROWID;
INSERT INTO "budget_cap" VALUES(1,'account money rolling 24h','account','money','rolling 24h',100,NULL,1,'config',946684800000000000,0);
CREATE TABLE budget_change (
		seq INTEGER PRIMARY KEY,
		account INTEGER NOT NULL,
		version INTEGER NOT NULL,
		at INTEGER NOT NULL,
		author TEXT NOT NULL,
		what TEXT NOT NULL,
		cap TEXT NOT NULL,
		before INTEGER NOT NULL,
		after INTEGER NOT NULL,
		scope TEXT NOT NULL,
		reason TEXT NOT NULL,
		until INTEGER) STRICT;
INSERT INTO "budget_change" VALUES(1,1,1,946684800000000000,'config','define','account money rolling 24h',0,100,'','',NULL);
CREATE TABLE budget_closed (
		account INTEGER NOT NULL,
		run TEXT NOT NULL,
		until INTEGER NOT NULL,
		PRIMARY KEY (account, run)) STRICT, WITHOUT ROWID;
CREATE TABLE budget_count (
		id INTEGER PRIMARY KEY,
		account INTEGER NOT NULL,
		cap TEXT NOT NULL,
		scopes TEXT NOT NULL,
		starts INTEGER NOT NULL,
		ends INTEGER NOT NULL, -- 0 never
		run TEXT,
		settled INTEGER NOT NULL,
		held INTEGER NOT NULL,
		unconfirmed INTEGER NOT NULL,
		overrun INTEGER NOT NULL,
		fired_low INTEGER NOT NULL,
		fired_high INTEGER NOT NULL,
		reservations INTEGER NOT NULL, -- that refer to it
		dropped INTEGER NOT NULL       -- its run was forgotten
		, buckets TEXT) STRICT;
INSERT INTO "budget_count" VALUES(1,1,'account money rolling 24h','account',0,0,NULL,10,90,0,0,0,0,4,0,'946684800000:10');
CREATE TABLE budget_freeze (
		account INTEGER NOT NULL,
		scope TEXT NOT NULL,
		reason TEXT NOT NULL,
		until INTEGER, -- NULL until it is unfrozen
		author TEXT NOT NULL,
		at INTEGER NOT NULL,
		PRIMARY KEY (account, scope)) STRICT, WITHOUT ROWID;
CREATE TABLE budget_meta (
		id INTEGER PRIMARY KEY CHECK (id = 1),
		schema INTEGER NOT NULL,
		clock INTEGER NOT NULL) STRICT;
INSERT INTO "budget_meta" VALUES(1,2,946684800000000000);
CREATE TABLE budget_reservation (
		seq INTEGER PRIMARY KEY, -- in the order of admission
		account INTEGER NOT NULL,
		id TEXT NOT NULL,
		scopes TEXT NOT NULL,
		state TEXT NOT NULL,
		ended INTEGER NOT NULL,
		due INTEGER NOT NULL, -- open: when its lease is over; ended: when it is forgotten
		admitted INTEGER NOT NULL,
		expires INTEGER NOT NULL,
		idle INTEGER NOT NULL,
		late INTEGER NOT NULL,
		swap TEXT NOT NULL,
		bound TEXT NOT NULL,
		actual TEXT NOT NULL,
		usage TEXT,
		links TEXT NOT NULL, -- counts, each with its part in their overrun
		corrections TEXT NOT NULL) STRICT;
INSERT INTO "budget_reservation" VALUES(1,1,'used','account','settled',1,946859040000000000,946684800000000000,946688400000000000,0,0,'','money=20','money=10','money=10','1','');
INSERT INTO "budget_reservation" VALUES(2,1,'small','account','released',1,946944000000000000,946684800000000000,946857600000000000,1,0,'','money=20','',NULL,'1','');
INSERT INTO "budget_reservation" VALUES(3,1,'kept','account','open',0,946857600000000000,946684800000000000,946857600000000000,1,0,'small','money=60','',NULL,'1','');
INSERT INTO "budget_reservation" VALUES(4,1,'open','account','open',0,946857600000000000,946684800000000000,946857600000000000,0,0,'','money=30','',NULL,'1','');
CREATE INDEX budget_cap_version ON budget_cap (account, version);
CREATE UNIQUE INDEX budget_count_key ON budget_count (account, cap, scopes, starts) WHERE dropped = 0;
CREATE INDEX budget_count_run ON budget_count (account, run) WHERE run IS NOT NULL AND dropped = 0;
CREATE INDEX budget_count_dropped ON budget_count (account, cap) WHERE dropped = 1;
CREATE INDEX budget_count_over ON budget_count (account, ends) WHERE reservations = 0 AND ends > 0;
CREATE UNIQUE INDEX budget_reservation_id ON budget_reservation (account, id);
CREATE INDEX budget_reservation_due ON budget_reservation (account, ended, due);
CREATE INDEX budget_closed_until ON budget_closed (account, until);
CREATE INDEX budget_change_account ON budget_change (account, seq);
COMMIT;
