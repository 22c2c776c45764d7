"""One function per endpoint: arguments to a `Call`, with its scopes and whether it may be repeated (contract C, G1)."""
