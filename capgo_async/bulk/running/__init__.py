"""A run of a job: each operation executed, counted, in waves, and stopped where it should be."""
