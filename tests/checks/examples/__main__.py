"""Checks the examples: python3 tests/checks/examples DIRECTORY

The directory must contain operator.mjs and its modules.
"""

import alerts
import files
import kubernetes
import proxies
import recipe

from promises import keep
import unit

keep([check for module in (files, unit, kubernetes, alerts, proxies, recipe) for check in module.CHECKS])
