-- The options of a request are two kilobytes of text that says much of the same in each row, and are looked at a few times: they are
-- compressed, and stay in the row. Rows that are there already stay as they are.
ALTER TABLE requests ALTER COLUMN options SET STORAGE MAIN;
ALTER TABLE requests SET (toast_tuple_target = 512);
