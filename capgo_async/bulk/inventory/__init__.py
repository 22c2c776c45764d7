"""Inventories: complete lists of devices, channels, bundles or apps, and their export to files."""
