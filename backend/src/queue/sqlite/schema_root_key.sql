-- What a program must know to work with this file; what the file has had is its user_version.
CREATE TABLE snaphook_schema (
    version         INTEGER NOT NULL
) STRICT;

-- A constant that was sealed with the root key: with another one it does not open.
CREATE TABLE root_key (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    proof           BLOB NOT NULL
) STRICT;
