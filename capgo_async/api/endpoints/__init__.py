"""One function per endpoint: arguments in, a `Call` out (contract C).

A `Call` says which limits count it and whether it may be repeated (contract G1).
"""
