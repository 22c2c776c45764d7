"""The state of the simulated server: organizations, members, keys, apps and all that belongs to an app."""
