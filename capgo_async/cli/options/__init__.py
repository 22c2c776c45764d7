"""Options that several commands share, profiles, and what is remembered between commands."""
