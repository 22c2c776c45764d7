"""The routes of the API, and what each returns."""
