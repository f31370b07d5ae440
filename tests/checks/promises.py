"""Runs checks: functions that are named for what they promise."""

import sys


def keep(checks):
    """Runs all checks, prints the failures and a summary, and exits."""
    failed = 0
    for check in checks:
        try:
            check()
        except Exception as error:
            failed += 1
            print(f"{check.__name__}: {error!r}")
    print(f"{len(checks) - failed} of {len(checks)} promises kept")
    sys.exit(failed > 0)
