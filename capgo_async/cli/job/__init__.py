"""Planning, running and reporting a job from the command line."""
