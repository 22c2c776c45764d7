"""What the command prints: messages, tables, errors."""
