"""The command `capgo-async`; needs the extra `cli`.

Exit codes (`bulk.report.ExitCode`): 0 all is as intended; 1 a fault of ours; 2 wrong usage or input, the server's refusal of
an argument included; 3 some operations failed, were rejected or are contradicted, or a single call was refused or failed; 4 no
room for the job file; 5 the key was refused; 6 the server could not be reached, or never answered; 130 interrupted or declined.
When several hold: 5, 6, 4, 130, 3. Errors are sentences on stderr, also with `--json`: stdout carries results, nothing else.
"""
