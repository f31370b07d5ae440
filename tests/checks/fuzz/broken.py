"""Requests that violate HTTP/1.1, alone or after valid ones."""

from .grammar import CONTROLS, KNOWN, NO_FAULT, REJECTED, Request

# The maximum size of a head, in bytes. The service may accept a slightly larger head if it arrives in one piece.
LIMIT = 16 << 10
TOO_LONG = [3 * LIMIT, 65_534, 65_536, 200_000]


def broken(rng):
    """Returns a request that must be rejected. After an invalid head, the connection must be closed as well."""
    if rng.random() < 0.1:
        return Request(rng.choice(HOSTS)(rng), REJECTED)
    return Request(rng.choice(HEADS)(rng), REJECTED, ends_connection=True)


def ambiguous(rng):
    """Returns a request that a service may accept or reject, but must respond to."""
    raw = rng.choice(ODDITIES)(rng)
    method = raw.lstrip(b"\r\n").split(b" ", 1)[0]
    return Request(raw, NO_FAULT, method)


def head(line, *fields):
    return b"\r\n".join([line, b"Host: localhost", *fields, b"", b""])


HEADS = [
    # The request line.
    lambda rng: head(b"%s / HTTP/1.1" % rng.choice([b"G\0T", b"G(ET", b"\xc3\xa9", b'"GET"', b"GET,", b"{}"])),
    lambda rng: head(b" GET / HTTP/1.1"),
    lambda rng: head(
        b"GET / HTTP/%s" % rng.choice([b"2.0", b"3", b"0.9", b"1.", b"11", b"1.1.1", b"9.9", b"x", b"1.1\0"])
    ),
    lambda rng: head(b"GET / %s" % rng.choice([b"http/1.1", b"HTTPS/1.1", b"HTTP1.1", b"FTP/1.1", b"\xff"])),
    lambda rng: head(b"GET /"),
    lambda rng: head(b"GET"),
    lambda rng: head(b"GET /a b HTTP/1.1"),
    lambda rng: head(b"GET /" + rng.choice([b"\0", b"\x01", b"\x7f", b"\t", b"\x1b[31m"]) + b" HTTP/1.1"),
    lambda rng: head(b"GET http:// HTTP/1.1"),
    lambda rng: bytes(rng.getrandbits(8) | 0x80 for _ in range(rng.choice([1, 20, 200]))) + b"\r\n\r\n",
    lambda rng: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300) + b"\r\n\r\n",
    lambda rng: b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    lambda rng: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(rng.choice([0, 9, 100])),
    # Fields.
    lambda rng: head(b"GET / HTTP/1.1", b"no colon"),
    lambda rng: head(b"GET / HTTP/1.1", b": no name"),
    lambda rng: head(b"GET / HTTP/1.1", b"Space : before the colon"),
    lambda rng: head(b"GET / HTTP/1.1", b"In valid: name"),
    lambda rng: head(b"GET / HTTP/1.1", b"X%s: name" % rng.choice([b"\0", b"(", b"\xe4", b"\x1b", b"@", b"/"])),
    lambda rng: head(
        b"GET / HTTP/1.1", b"X-Value: a%cb" % rng.choice(CONTROLS.replace(b"\r", b"").replace(b"\n", b""))
    ),
    lambda rng: head(b"GET / HTTP/1.1", b"X-Folded: a", b" b"),
    lambda rng: head(b"GET / HTTP/1.1", b" X-Indented: a"),
    lambda rng: head(b"GET / HTTP/1.1", b"X-Return: a\rb"),
    # Framing.
    lambda rng: head(
        b"POST /shorten HTTP/1.1",
        b"Content-Length: %s"
        % rng.choice([b"-1", b"+5", b"1e3", b"", b"0x10", b"abc", b"1 2", b"5;", b"\xb2", b"9" * 30]),
    ),
    lambda rng: head(b"POST /shorten HTTP/1.1", b"Content-Length: 5", b"Content-Length: 6") + b"a=b&c=",
    lambda rng: head(
        b"POST /shorten HTTP/1.1",
        b"Transfer-Encoding: %s"
        % rng.choice([b"gzip", b"chunked, gzip", b"identity", b"", b"chunkedx", b"\x0bchunked"]),
    ),
    lambda rng: head(b"POST /shorten HTTP/1.0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    # Size.
    lambda rng: head(b"GET / HTTP/1.1", b"X-Long: " + b"x" * rng.choice(TOO_LONG)),
    lambda rng: head(b"GET / HTTP/1.1", b"X" * rng.choice(TOO_LONG) + b": long"),
    lambda rng: head(b"GET / HTTP/1.1", *[b"X-%d: many" % number for number in range(rng.choice([101, 1000, 5000]))]),
    lambda rng: head(b"GET /" + b"x" * rng.choice(TOO_LONG) + b" HTTP/1.1"),
    lambda rng: head(b"G" * rng.choice(TOO_LONG) + b" / HTTP/1.1"),
]

# Heads that are valid except that they have no Host field, or two.
HOSTS = [
    lambda rng: b"GET /%s HTTP/1.1\r\nAccept: */*\r\n\r\n" % KNOWN,
    lambda rng: head(b"GET /%s HTTP/1.1" % KNOWN, b"Host: %s" % rng.choice([b"localhost", b"other.example"])),
]

FORM = b"Content-Type: application/x-www-form-urlencoded"


def in_chunks(body):
    return head(b"POST /shorten HTTP/1.1", FORM, b"Transfer-Encoding: chunked") + body


ODDITIES = [
    # Targets.
    lambda rng: head(
        b"GET http://%s/%s HTTP/1.1" % (rng.choice([b"localhost", b"user@evil", b"[::1]", b"a:99999"]), KNOWN)
    ),
    lambda rng: head(
        b"GET %s HTTP/1.1"
        % rng.choice([b"*", b"foo", b"//", b"/../..", b"/#x", b"/?", b"mailto:a", b"http:a", b"/\xff"])
    ),
    lambda rng: head(b"CONNECT %s HTTP/1.1" % rng.choice([b"example.com:443", b"/", b"localhost"])),
    lambda rng: head(b"OPTIONS * HTTP/1.1"),
    lambda rng: head(
        b"GET /"
        + rng.choice([b"%", b"%0", b"%zz", b"%00", b"%0d%0a", b"%c0%ae", b"%u0041", b'{}|\\^`"'])
        + b" HTTP/1.1"
    ),
    lambda rng: head(b"GET /" + b"x" * rng.choice([5000, LIMIT - 50, LIMIT, LIMIT + 50]) + b" HTTP/1.1"),
    # Versions, line endings, empty lines.
    lambda rng: b"GET /%s HTTP/1.0\r\n%s\r\n"
    % (KNOWN, rng.choice([b"", b"Connection: keep-alive\r\n", b"Host: a\r\nHost: b\r\n"])),
    lambda rng: head(b"GET / HTTP/1.%d" % rng.randrange(2, 10)),
    lambda rng: head(b"GET /%s HTTP/1.1" % KNOWN).replace(b"\r\n", b"\n"),
    lambda rng: b"\r\n" * rng.choice([1, 2, 50]) + head(b"GET /healthz HTTP/1.1"),
    lambda rng: head(b"GET  /  HTTP/1.1"),
    lambda rng: head(b"GET / HTTP/1.1 "),
    # Host.
    lambda rng: b"GET /%s+ HTTP/1.1\r\nHost: %s\r\n\r\n"
    % (
        KNOWN,
        rng.choice(
            [
                b"",
                b"a b",
                b"\xff",
                b"a/b",
                b"a@b",
                b"a?b",
                b"[::",
                b"x" * 256,
                b"x" * 15_000,
                b"a,b",
                b"%00",
                b"<script>",
            ]
        ),
    ),
    # Fields that affect the rest of the connection.
    lambda rng: head(
        b"GET / HTTP/1.1",
        b"Connection: %s" % rng.choice([b"close", b"upgrade", b"Host", b"\xff", b"close, keep-alive"]),
    ),
    lambda rng: head(
        b"GET / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"
    ),
    lambda rng: head(
        b"POST /shorten HTTP/1.1",
        FORM,
        b"Expect: %s" % rng.choice([b"200-ok", b"\xff", b"100-continue"]),
        b"Content-Length: 0",
    ),
    lambda rng: head(b"GET /healthz HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"),
    # Framing that implementations interpret differently.
    lambda rng: head(b"POST /shorten HTTP/1.1", FORM, b"Content-Length: 6", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\nGET / ",
    lambda rng: head(b"POST /shorten HTTP/1.1", FORM, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    lambda rng: head(b"POST /shorten HTTP/1.1", FORM, b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    lambda rng: head(b"POST /shorten HTTP/1.1", FORM, b"Content-Length: 3", b"Content-Length: 3") + b"a=b",
    lambda rng: head(b"GET /%s HTTP/1.1" % KNOWN, b"Content-Length: 5") + b"aaaaa",
    lambda rng: in_chunks(
        rng.choice([b"z\r\n", b"-1\r\n", b"\r\n", b"1;\0\r\na\r\n0\r\n\r\n", b"1\r\naa\r\n0\r\n\r\n", b"1\na\n0\n\n"])
    ),
    lambda rng: in_chunks(rng.choice([b"f" * 15, b"f" * 17, b"7" + b"f" * 15, b"0" * 5000]) + b"\r\n"),
    lambda rng: in_chunks(b"1" + b";x" * rng.choice([100, 5000, 20_000]) + b"\r\na\r\n0\r\n\r\n"),
    lambda rng: in_chunks(b"0\r\n" + b"X-T: y\r\n" * rng.choice([10, 200, 5000]) + b"\r\n"),
    lambda rng: in_chunks(
        b"0\r\n" + rng.choice([b"bad trailer\r\n", b"a: \0\r\n", b"Content-Length: 5\r\n"]) + b"\r\n"
    ),
]
