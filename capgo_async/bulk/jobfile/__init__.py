"""The job file: what is in it, and all that is read from it and written to it."""
