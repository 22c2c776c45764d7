"""Measure what this library promises of speed, memory and start-up: `python -m benchmarks`, or one of its programs alone."""
