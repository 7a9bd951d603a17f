BEGIN TRANSACTION;
CREATE TABLE budget_account (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL UNIQUE,
		version INTEGER NOT NULL, -- of its caps
		floor INTEGER NOT NULL,   -- removed caps are listed after this version
		edits INTEGER NOT NULL,   -- of freezes and forgotten runs
		ended INTEGER NOT NULL    -- reservations kept that have ended
		) STRICT;
INSERT INTO "budget_account" VALUES(1,'default',2,0,1,2);
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
INSERT INTO "budget_cap" VALUES(1,'account money lifetime','account','money','lifetime',1000,NULL,1,'config',1795445849147606841,0);
INSERT INTO "budget_cap" VALUES(1,'each tenant money fixed 1000h','each tenant','money','fixed 1000h',300,'10 90',2,'config',1795445849147606841,0);
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
INSERT INTO "budget_change" VALUES(1,1,1,1795445849147606841,'config','define','account money lifetime',0,1000,'','',NULL);
INSERT INTO "budget_change" VALUES(2,1,2,1795445849147606841,'config','define','each tenant money fixed 1000h',0,300,'','',NULL);
INSERT INTO "budget_change" VALUES(3,1,2,1795445849156105055,'ann','freeze','',0,0,'tenant other','too fast',NULL);
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
		) STRICT;
INSERT INTO "budget_count" VALUES(1,1,'account money lifetime','account',0,0,NULL,170,40,50,20,0,0,3,0);
INSERT INTO "budget_count" VALUES(2,1,'each tenant money fixed 1000h','tenant acme/1%20%C3%A4',1792800000000000000,1796400000000000000,NULL,170,40,50,20,1024,0,3,0);
CREATE TABLE budget_freeze (
		account INTEGER NOT NULL,
		scope TEXT NOT NULL,
		reason TEXT NOT NULL,
		until INTEGER, -- NULL until it is unfrozen
		author TEXT NOT NULL,
		at INTEGER NOT NULL,
		PRIMARY KEY (account, scope)) STRICT, WITHOUT ROWID;
INSERT INTO "budget_freeze" VALUES(1,'tenant other','too fast',NULL,'ann',1795445849156105055);
CREATE TABLE budget_meta (
		id INTEGER PRIMARY KEY CHECK (id = 1),
		schema INTEGER NOT NULL,
		clock INTEGER NOT NULL) STRICT;
INSERT INTO "budget_meta" VALUES(1,1,1795445849156105055);
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
INSERT INTO "budget_reservation" VALUES(1,1,'settled','account
tenant acme/1%20%C3%A4','settled',1,1796486400000000000,1795445849150442797,1795449449150442797,0,0,'','money=100','money=120','money=120','1:20 2:20','');
INSERT INTO "budget_reservation" VALUES(2,1,'charged','account
tenant acme/1%20%C3%A4','charged',1,1796486400000000000,1795445849154452514,1795449449154452514,0,0,'','money=50 tokens=7','money=50 tokens=7',NULL,'1 2','');
INSERT INTO "budget_reservation" VALUES(3,1,'open','account
tenant acme/1%20%C3%A4','open',0,1795449449155002169,1795445849155002169,1795449449155002169,0,0,'','money=40','',NULL,'1 2','');
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
