"""Runs checks. A check is a function whose name says what must be true."""

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
