"""Listings: every page once, or an error (contract G3)."""
