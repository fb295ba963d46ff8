package store

// migrations are applied in order, each once, in one transaction with the
// bump of user_version. They are never changed after a release: a change is a
// new one at the end. Times are Unix nanoseconds.
var migrations = []string{`
CREATE TABLE users (
	name          TEXT PRIMARY KEY,
	display       TEXT NOT NULL,
	department    TEXT NOT NULL,
	roles         TEXT NOT NULL, -- comma-separated
	password      TEXT NOT NULL, -- argon2id in PHC form
	disabled      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE tokens (
	hash          BLOB PRIMARY KEY, -- SHA-256 of the token
	user          TEXT NOT NULL REFERENCES users(name),
	expires       INTEGER NOT NULL
) STRICT;
CREATE TABLE levels (
	level         INTEGER PRIMARY KEY,
	methods       TEXT NOT NULL -- comma-separated
) STRICT;
CREATE TABLE seal_types (
	name          TEXT PRIMARY KEY,
	title         TEXT NOT NULL,
	level         INTEGER NOT NULL REFERENCES levels(level)
) STRICT;
INSERT INTO levels VALUES (1, 'fingerprint,face'), (2, 'fingerprint');
INSERT INTO seal_types VALUES
	('company', '公章', 1), ('finance', '财务章', 1), ('contract', '合同章', 1),
	('business', '业务章', 2), ('legal-representative', '法人章', 1);
CREATE TABLE orders (
	number          TEXT PRIMARY KEY,
	applicant       TEXT NOT NULL REFERENCES users(name),
	department      TEXT NOT NULL,
	reason          TEXT NOT NULL,
	seal_type       TEXT NOT NULL REFERENCES seal_types(name),
	count           INTEGER NOT NULL CHECK (count > 0),
	not_before      INTEGER NOT NULL,
	not_after       INTEGER NOT NULL CHECK (not_after > not_before),
	document_name   TEXT NOT NULL,
	document_sha256 BLOB,
	state           TEXT NOT NULL CHECK (state IN ('applied', 'approved', 'rejected', 'ended')),
	decided_by      TEXT,
	decision_words  TEXT NOT NULL DEFAULT '',
	created         INTEGER NOT NULL
) STRICT;
CREATE INDEX orders_by_applicant ON orders(applicant, state);
CREATE TABLE uses (
	use           INTEGER PRIMARY KEY,
	order_number  TEXT NOT NULL REFERENCES orders(number),
	report        TEXT NOT NULL, -- the gateway's report, JSON
	stamped       INTEGER NOT NULL
) STRICT;
CREATE INDEX uses_by_order ON uses(order_number);
CREATE TABLE evidence (
	order_number  TEXT NOT NULL REFERENCES orders(number),
	use           INTEGER NOT NULL,
	stamp         INTEGER NOT NULL,
	sha256        BLOB NOT NULL,
	size          INTEGER NOT NULL,
	content_type  TEXT NOT NULL,
	stored        INTEGER NOT NULL,
	verdict       TEXT NOT NULL DEFAULT '' CHECK (verdict IN ('', 'match', 'mismatch')),
	reviewer      TEXT NOT NULL DEFAULT '',
	words         TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (order_number, use, stamp)
) STRICT;
CREATE TABLE disconnects (
	id            TEXT PRIMARY KEY,
	order_number  TEXT NOT NULL,
	use           INTEGER NOT NULL,
	reason        TEXT NOT NULL,
	created       INTEGER NOT NULL,
	delivered     INTEGER NOT NULL DEFAULT 0, -- 0: not yet
	attempts      INTEGER NOT NULL DEFAULT 0,
	last_error    TEXT NOT NULL DEFAULT ''
) STRICT;
`}
