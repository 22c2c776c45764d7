"""Running a job: execution of operations, waves, stop rules, bounds, and the use of limits."""
