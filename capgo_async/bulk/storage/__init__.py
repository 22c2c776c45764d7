"""Files that outlive a process: SQLite databases, locks, exports."""
