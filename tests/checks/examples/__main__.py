"""Checks the examples: python3 tests/checks/examples DIRECTORY, which has operator.mjs and its modules."""

import sys

import alerts
import files
import kubernetes
import proxies
import recipe
import unit

MODULES = [files, unit, kubernetes, alerts, proxies, recipe]
failed, passed = 0, 0
for module in MODULES:
    for check in module.CHECKS:
        try:
            check()
            passed += 1
        except Exception as error:
            failed += 1
            print(f"{module.__name__}: {check.__name__}: {error!r}")
print(f"{passed} of {passed + failed} promises kept")
sys.exit(failed > 0)
