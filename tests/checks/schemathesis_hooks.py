"""Sends each request from a different client address, because a client with many wrong tokens gets 429 instead of 401.

The HTTP adapter adds the X-Forwarded-For header. If a Schemathesis hook added it, Schemathesis would treat the header
as part of the test case.
"""

import itertools

from requests.adapters import HTTPAdapter

numbers = itertools.count()


def add_headers(_adapter, request, **_options):
    number = next(numbers)
    request.headers["X-Forwarded-For"] = f"198.18.{number // 256 % 256}.{number % 256}"


HTTPAdapter.add_headers = add_headers
