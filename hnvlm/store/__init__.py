"""SQLite records and content-hashed arrays of every case."""
