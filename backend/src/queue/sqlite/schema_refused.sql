-- What a page wanted to connect to and did not get: a JSON array, NULL for nothing.
ALTER TABLE requests ADD COLUMN refused TEXT;
