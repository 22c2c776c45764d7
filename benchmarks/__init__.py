"""Benchmarks of speed, memory and start-up: run all with `python -m benchmarks`, or one module alone."""
