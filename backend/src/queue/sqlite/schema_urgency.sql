-- Requests of one key in the order of their urgency (RFC 9218: 0 first, 7 last), then of their time.
ALTER TABLE requests ADD COLUMN urgency INTEGER NOT NULL DEFAULT 3;
DROP INDEX requests_due;
CREATE INDEX requests_due ON requests (access_key, urgency, due_ms) WHERE state = 'queued';
