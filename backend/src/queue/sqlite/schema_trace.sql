-- Where a request belongs in a trace, as a W3C traceparent; NULL for nowhere.
ALTER TABLE requests ADD COLUMN traceparent TEXT;
