"""The state of the simulated server: organizations, members, keys, apps and everything in an app."""
