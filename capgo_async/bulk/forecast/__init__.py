"""Forecasts: how long a job takes."""
