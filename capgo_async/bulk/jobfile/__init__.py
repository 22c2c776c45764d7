"""The job file: its tables, and every statement that reads or writes it."""
