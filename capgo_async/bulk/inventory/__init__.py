"""Inventories: everything that an account shows, taken completely, and written to files."""
