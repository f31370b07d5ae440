"""A wide variety of well-formed requests, with the statuses that each may get.

`rng` makes all random choices, so a case can be rebuilt from its seed and number.
"""

import json
from urllib.parse import urlencode

TOKEN = b"fuzz-token-0123456789"
READ_TOKEN = b"fuzz-reader-0123456789"
PASSWORD = "correct horse"

# Links that exist from the start. The fuzzer's requests never change them.
KNOWN, GONE, LOCKED = b"fuzz-known", b"fuzz-gone", b"fuzz-locked"
SCRATCH = [b"scratch-%d" % number for number in range(40)]

# All statuses except server errors. (501 and 505 report faults in the request.)
NO_FAULT = frozenset(range(200, 500)) | {501, 505}
REJECTED = frozenset(range(400, 500)) | {501, 505}

# Bytes that no field value may contain.
CONTROLS = bytes([*range(9), *range(10, 32), 0x7F])


class Request:
    """The bytes of one request, and the statuses that it may get."""

    def __init__(self, raw, expected=NO_FAULT, method=b"GET", marker=None, ends_connection=False):
        self.raw = raw
        self.expected = frozenset(expected)
        self.method = method
        # The response repeats this marker in X-Request-Id. Markers show whether responses arrive in the order of the
        # requests.
        self.marker = marker
        self.ends_connection = ends_connection


def well_formed(rng):
    """Returns a request that must get a response, with an exact status if its meaning is clear."""
    return rng.choices([simple, create, manage, odd_meaning], [4, 3, 3, 3])[0](rng)


def readable(rng):
    """Returns a request without a body. The service also responds to later requests on the same connection."""
    return rng.choice([simple, simple, simple, listing])(rng)


def marker(rng):
    return b"%016x" % rng.getrandbits(64)


def build(rng, method, target, expected, fields=(), body=None, noisy=True):
    """Builds a request with random framing, spelling and order of fields, but the same meaning."""
    mark = marker(rng)
    fields = [(b"Host", rng.choice([b"localhost", b"sho.rt", b"127.0.0.1:8080", b"[::1]:80"])), *fields]
    fields.append((b"X-Request-Id", mark))
    if noisy:
        fields += [noise(rng) for _ in range(rng.choice([0, 0, 0, 0, 1, 2, 5, 40]))]
    content = b""
    if body is not None and rng.random() < 0.3:
        fields.append((b"Transfer-Encoding", rng.choice([b"chunked", b"Chunked"])))
        content = chunked(rng, body)
    elif body is not None:
        fields.append((b"Content-Length", b"%s%d" % (rng.choice([b"", b"", b"0", b"000"]), len(body))))
        content = body
    if body is not None and rng.random() < 0.1:
        fields.append((b"Expect", b"100-continue"))
    rng.shuffle(fields)
    lines = b"".join(
        spelled(rng, name) + b":" + padding(rng) + value + padding(rng) + b"\r\n" for name, value in fields
    )
    raw = b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, target, lines, content)
    return Request(raw, expected, method, mark)


def spelled(rng, name):
    return rng.choice([name, name, name.lower(), name.upper()])


def padding(rng):
    return rng.choice([b" ", b" ", b" ", b"", b"\t", b"   "])


def noise(rng):
    """Returns a header field that the service ignores, with any bytes that RFC 9110 allows."""
    value = rng.randbytes(rng.choice([0, 1, 5, 30, 120])).translate(None, CONTROLS).strip()
    name = rng.choice([b"X-Noise", b"Cookie", b"DNT", b"X-%x" % rng.getrandbits(32), b"!#$%&'*+-.^_`|~0aA"])
    return name, value


def chunked(rng, body):
    parts, position = [], 0
    while position < len(body):
        chunk = body[position : position + rng.choice([1, 2, 7, 64, 1000])]
        size = b"%s%x" % (rng.choice([b"", b"0", b"000"]), len(chunk))
        parts += [rng.choice([size, size.upper()]), extension(rng), b"\r\n", chunk, b"\r\n"]
        position += len(chunk)
    trailers = b"".join(b"X-Trailer-%d: %x\r\n" % (at, rng.getrandbits(16)) for at in range(rng.choice([0, 0, 1, 5])))
    return b"".join(parts) + b"0" + extension(rng) + b"\r\n" + trailers + b"\r\n"


def extension(rng):
    return rng.choice([b"", b"", b"", b";a", b";a=b", b';name="quoted value"', b";x=" + b"y" * 50])


def simple(rng):
    method = rng.choice([b"GET", b"GET", b"GET", b"HEAD"])
    # QR codes are drawn one at a time, and a debug build is slow. With too many QR codes, requests would wait too long.
    if rng.random() < 0.01:
        return build(rng, method, b"/" + KNOWN + b"/qr", {200})
    target, expected = rng.choice(
        [
            (b"/healthz", {200}),
            (b"/", {200}),
            (b"/openapi.json", {200}),
            (b"/readyz", {200}),
            (b"/" + KNOWN, {302}),
            (b"/" + KNOWN + b"?a=b&c", {302}),
            (b"/" + KNOWN + b"+", {200}),
            (b"/" + GONE, {410}),
            (b"/" + LOCKED, {403}),
            (b"/no-such-link-%x" % rng.getrandbits(32), {404}),
            (b"/a/b/c/%x" % rng.getrandbits(32), {404}),
            (b"/api/v1/links", {401}),
        ]
    )
    return build(rng, method, target, expected)


def link_fields(rng):
    """Returns the fields of a valid link without a key."""
    fields = {"url": f"https://example.com/{rng.getrandbits(64):x}?q={'x' * rng.choice([0, 10, 500])}"}
    optional = {
        "title": rng.choice(["t", "ä\u0085\u2028", "x" * 255]),
        "max_visits": rng.choice([1, 2**32 - 1]),
        "redirect": rng.choice([301, 302, 307, 308]),
        "expires_in": rng.choice(["30d", "3600", "1h 5m"]),
        "forward_query": rng.choice([True, False]),
        "tags": rng.choice([["a", "b"], ["ü" * 64]]),
    }
    return fields | {name: optional[name] for name in optional if rng.random() < 0.2}


def as_form(fields):
    words = {name: ",".join(value) if isinstance(value, list) else value for name, value in fields.items()}
    return urlencode({name: str(value).lower() if isinstance(value, bool) else value for name, value in words.items()})


def create(rng):
    fields = link_fields(rng)
    expected = {201}
    if rng.random() < 0.2:
        fields["key"] = rng.choice(SCRATCH).decode()
        expected = {201, 409}
    target, authorization = rng.choice([(b"/shorten", []), (b"/api/v1/links", bearer(rng, TOKEN))])
    if rng.random() < 0.5:
        content_type, body = b"application/json; charset=utf-8", json.dumps(fields, ensure_ascii=rng.random() < 0.5)
    else:
        content_type, body = b"application/x-www-form-urlencoded", as_form(fields)
    return build(rng, b"POST", target, expected, [(b"Content-Type", content_type), *authorization], body.encode())


def bearer(rng, token):
    return [(b"Authorization", rng.choice([b"Bearer ", b"bearer "]) + token)]


def listing(rng):
    cheap = [b"", b"?limit=1", b"?limit=10&sort=oldest", b"?limit=1&sort=most_clicked"]
    query = rng.choice([*cheap, *cheap, *cheap, b"?limit=500", b"?search=a&tag=b"])
    return build(rng, b"GET", b"/api/v1/links" + query, {200}, bearer(rng, READ_TOKEN))


def manage(rng):
    """Returns a change to a scratch link, which another case may have created or deleted."""
    link = b"/api/v1/links/" + rng.choice(SCRATCH)
    token = bearer(rng, TOKEN)
    kind = rng.randrange(6)
    if kind == 0:
        return build(rng, b"DELETE", link, {204, 404}, token)
    if kind == 1:
        return build(rng, b"POST", link + rng.choice([b"/take-down", b"/restore"]), {200, 404}, token)
    if kind == 2:
        body = json.dumps(link_fields(rng)).encode()
        return build(
            rng, b"PATCH", link, {200, 404}, [*token, (b"Content-Type", b"application/merge-patch+json")], body
        )
    if kind == 3:
        links = [link_fields(rng) for _ in range(rng.choice([1, 3, 20]))]
        body = json.dumps({"links": links}).encode()
        return build(
            rng, b"POST", b"/api/v1/links/batch", {200}, [*token, (b"Content-Type", b"application/json")], body
        )
    if kind == 4:
        return build(rng, b"GET", link + b"/stats", {200, 404}, token)
    return listing(rng)


def odd_meaning(rng):
    """Returns a well-formed but strange request. Any response except a server error is fine."""
    odd_time = rng.choice(["9999-12-30T22:00:00.999Z", "-009999-01-02T01:59:59Z", "0000-01-01T00:00:00Z", "x"])
    odd_span = rng.choice(["0", "-1", "18446744073709551615", "300y", "9999999999999999y", "1ns", "１d", "1d" * 500])
    odd_number = rng.choice([0, -1, 2**32, 2**64, 1e308, "7", None, [], True])
    odd_url = rng.choice(
        ["http://[::1", "javascript:x", "http://\u202e.example", "//x", "http://a" * 400, "\0", 5, None, {}]
    )
    odd_key = rng.choice(["", "batch", "a b", "ä", "x" * 65, "\0", "..", "a/../b", None, 5])
    fields = link_fields(rng) | {
        rng.choice(
            ["expires_at", "expires_in", "max_visits", "url", "key", "redirect", "title", "tags", "password", "?"]
        ): (rng.choice([odd_time, odd_span, odd_number, odd_url, odd_key]))
    }
    bodies = [
        json.dumps(fields).encode(),
        b"[" * 2000,
        b'{"url":"https://e.example/\\ud800"}',
        b'{"url":1' + b"0" * 500 + b"}",
        b"\xff\xfe{}",
        b"",
        b"url=https%3A%2F%2Fe.example%2F&url=x&%ff=%00&expires_in=" + urlencode({"": odd_span})[1:].encode(),
        b"{}" + b" " * 20_000,
    ]
    fields = [
        rng.choice(
            [
                (b"Authorization", b"Bearer " + TOKEN),
                (b"Authorization", b"Bearer \xff"),
                (b"Authorization", b"Basic Og=="),
            ]
        ),
        (
            b"Content-Type",
            rng.choice([b"application/json", b"application/x-www-form-urlencoded", b"text/\xff;;=", b""]),
        ),
        (b"X-Forwarded-For", rng.choice([b"1.2.3.4", b"\xff, 1.2.3.4", b",,,,", b"::1%eth0", b"[::1", b"9" * 500])),
        (b"X-Forwarded-Proto", rng.choice([b"https", b"\xff", b"http,https", b"javascript"])),
        (b"Accept", rng.choice([b"text/html", b"*/*;q=0.0000", b"text/html;q=\xff", b",;,=" * 100])),
        (
            b"traceparent",
            rng.choice([b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"00-" + b"0" * 55, b"ff\xff", b"-" * 55]),
        ),
        (b"Idempotency-Key", rng.choice([b"k", b"\xe4", b"k" * 256, b""])),
        (
            rng.choice([b"If-Match", b"If-None-Match"]),
            rng.choice([b"*", b'"1"', b'W/"1"', b"", b'"', b'"1", \xff', b"," * 200]),
        ),
        (b"User-Agent", rng.choice([b"", b"bot", b"\xff" * 30, b"Mozilla/5.0 " + b"(" * 400])),
        (b"Referer", rng.choice([b"", b"https://\xff.example/", b"http://[::", b"https://a.example/" + b"x" * 3000])),
        (b"Purpose", b"prefetch"),
        (b"X-Forwarded-For", rng.choice([b"", b"5.6.7.8", b"\t"])),
    ]
    fields = rng.sample(fields, rng.randrange(len(fields)))
    key = rng.choice(
        [KNOWN, LOCKED, rng.choice(SCRATCH), b"%00", b"%ff", b"%2e%2e", b"%", b"a" * 3000, b"%E2%80%AE", b"batch"]
    )
    method, target = rng.choice(
        [
            (b"POST", b"/shorten"),
            (b"POST", b"/api/v1/links"),
            (b"POST", b"/api/v1/links/batch"),
            (b"PATCH", b"/api/v1/links/" + rng.choice(SCRATCH)),
            (b"POST", b"/" + LOCKED),
            (b"GET", b"/" + key),
            (b"GET", b"/" + key + b"?" + b"&".join(rng.choices([b"a=%", b"%00", b"a=b=c", b"[]", b"\x7e", b"&"], k=5))),
            (b"GET", b"/" + key + b"+"),
            (
                b"GET",
                b"/"
                + key
                + b"/qr?size="
                + rng.choice([b"64", b"2049", b"65536", b"-1", b"x"])
                + b"&format=png&margin=16",
            ),
            (b"GET", b"/api/v1/links/" + key),
            (
                b"GET",
                b"/api/v1/links/"
                + key
                + b"/stats?from="
                + rng.choice([b"-9999-01-01", b"9999-12-31", b"x", b"2026-02-30"]),
            ),
            (b"GET", b"/api/v1/links/" + key + b"/stats?to=" + rng.choice([b"-009999-01-01", b"9999-12-31", b""])),
            (
                b"GET",
                b"/api/v1/links?cursor="
                + rng.choice([b"-9223372036854775808.a", b"9223372036854775807.a", b"1e5.a", b"."]),
            ),
            (b"GET", b"/api/v1/links?limit=" + rng.choice([b"0", b"501", b"65536", b"-0"]) + b"&search=%00&tag=%2C"),
            (rng.choice([b"PUT", b"OPTIONS", b"TRACE", b"PROPFIND", b"get", b"M-SEARCH", b"X" * 300]), b"/" + key),
        ]
    )
    body = rng.choice(bodies) if method in (b"POST", b"PATCH") else None
    return build(rng, method, target, NO_FAULT, fields, body)
