"""One function per endpoint: arguments in, a `Call` out (contract C, G1)."""
