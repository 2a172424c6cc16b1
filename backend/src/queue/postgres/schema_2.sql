-- JSON array of pairs: what an attempt had beside the headers of its delivery. Of those before, nobody knows any more.
ALTER TABLE attempts ADD COLUMN headers TEXT NOT NULL DEFAULT '[]';
