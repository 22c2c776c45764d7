"""The command `capgo-async`. Needs the extra `cli`.

Results go to stdout, everything else to stderr, also with `--json`. Exit codes are in `exit_codes.py`.
"""
