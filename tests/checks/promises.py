"""Runs checks that are functions, each named for what it promises."""

import sys


def keep(checks):
    """Runs all checks, says which fail and how many hold, and ends the program."""
    failed = 0
    for check in checks:
        try:
            check()
        except Exception as error:
            failed += 1
            print(f"{check.__name__}: {error!r}")
    print(f"{len(checks) - failed} of {len(checks)} promises kept")
    sys.exit(failed > 0)
