"""The soak test's clients. Each runs one kind of behaviour until it is told to stop."""

import asyncio
import itertools
import random
from urllib.parse import urlencode

from .client import raw_request
from .ledger import ABSENT, GONE

PASSWORD = "correct horse"
WRITERS, HOT_READERS, COLD_READERS, SABOTEURS = 6, 4, 3, 8
numbers = itertools.count()


def behaviours():
    """Returns the behaviour of each client in the mixed load."""
    return (
        [write] * WRITERS
        + [read_hot] * HOT_READERS
        + [read_cold] * COLD_READERS
        + [sabotage] * SABOTEURS
        + [batch, browse, draw, unlock]
    )


def fresh_target():
    return f"https://example.com/{next(numbers)}"


def fresh_key():
    return f"soak-{next(numbers)}-{random.getrandbits(32):x}"


async def pause(longest):
    await asyncio.sleep(random.uniform(0, longest))


async def write(client, ledger):
    """Creates a link and makes up to two changes to it."""
    link = await create(client, ledger)
    for change in random.choice([[], [], [edit], [take_down], [edit, take_down], [take_down, restore], [remove]]):
        if not link or link.is_uncertain:
            break
        await change(client, ledger, link)
        await pause(0.05)
    await pause(0.2)


async def create(client, ledger):
    """Creates a link with JSON or a form, with or without a key. Returns the link if it is acknowledged."""
    target, key = fresh_target(), fresh_key() if random.random() < 0.5 else None
    fields = {"url": target} | ({"key": key} if key else {})
    if random.random() < 0.3:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await client.request("POST", "/shorten", urlencode(fields).encode(), form)
    else:
        response = await client.request("POST", "/shorten", fields)
    if response and response.status == 201:
        location = response.headers[b"location"][0].decode()
        return ledger.created(location.rsplit("/", 1)[1], target)
    if response and response.status < 500:
        ledger.wrong.append(f"POST /shorten returned {response.status}")
    elif key:
        ledger.add(key, {ABSENT, target})
    return None


async def change(client, ledger, link, method, path, state, body=None, is_cut=False):
    """Changes a link, and retries until the change succeeds. With `is_cut`, disconnects during the first attempt."""
    link.begin(state)
    if is_cut:
        await client.hang_up(raw_request(method, path, body), random.choice([0, 0, 0.001, 0.01]))
        link.is_uncertain = True
        link.history.append("hung up")
    while True:
        response = await client.request(method, path, body)
        if response and response.status in (200, 204):
            break
        if response and response.status == 404 and state == ABSENT and link.is_uncertain:
            break
        link.history.append(f"{response.status if response else 'no response'}")
        if response and response.status < 500:
            ledger.wrong.append(f"{method} {path} returned {response.status}, state before: {', '.join(link.states)}")
        link.is_uncertain = True
        if client.is_stopping():
            link.finish(state, is_acknowledged=False)
            return
        await pause(0.5)
    link.finish(state, is_acknowledged=True)
    ledger.acknowledged_ends += state in (GONE, ABSENT)
    await read(client, ledger, link)


async def edit(client, ledger, link, is_cut=False):
    target = fresh_target()
    await change(client, ledger, link, "PATCH", f"/api/v1/links/{link.key}", target, {"url": target}, is_cut)


async def take_down(client, ledger, link, is_cut=False):
    await change(client, ledger, link, "POST", f"/api/v1/links/{link.key}/take-down", GONE, is_cut=is_cut)


async def restore(client, ledger, link):
    record = await client.request("GET", f"/api/v1/links/{link.key}")
    target = record.json()["url"] if record and record.status == 200 else None
    if target:
        await change(client, ledger, link, "POST", f"/api/v1/links/{link.key}/restore", target)


async def remove(client, ledger, link, is_cut=False):
    await change(client, ledger, link, "DELETE", f"/api/v1/links/{link.key}", ABSENT, is_cut=is_cut)


async def read(client, ledger, link):
    """Follows a link and checks that the response shows a state that the link may be in."""
    changes = link.changes
    response = await client.request("GET", f"/{link.key}")
    if response:
        ledger.observe(link, changes, response)


async def read_hot(client, ledger):
    """Follows the same few links."""
    for link in ledger.links[:20]:
        await read(client, ledger, link)
        await pause(0.02)
    await pause(0.02)


async def read_cold(client, ledger):
    """Follows a random link, or a key that does not exist."""
    link = ledger.sample()
    if link and random.random() < 0.8:
        await read(client, ledger, link)
    else:
        response = await client.request("GET", f"/no-such-{random.getrandbits(40):x}")
        if response and response.status not in (404, 503, 504):
            ledger.wrong.append(f"an unknown key returned {response.status}")
    await pause(0.05)


async def sabotage(client, ledger):
    """Disconnects in one of several ways. If this interrupts a change, the change is then repeated."""
    kind = random.randrange(7)
    if kind == 0:
        await client.hang_up(b"GET /healthz HTT", pause=random.choice([0, 2]))
    elif kind == 1:
        whole = raw_request("POST", "/shorten", {"url": fresh_target()})
        await client.hang_up(whole[: random.randrange(len(whole))], pause=random.choice([0, 2]))
    elif kind == 2:
        await client.hang_up(raw_request("GET", "/openapi.json") * 200, pause=2)
    elif kind == 3:
        await client.hang_up(raw_request("POST", "/shorten", {"url": fresh_target()}))
    else:
        link = await create(client, ledger)
        if link:
            # Following the link caches it. The interrupted change must not leave the old version in the cache.
            await read(client, ledger, link)
            await random.choice([take_down, remove, edit])(client, ledger, link, is_cut=True)
    await pause(0.5)


async def batch(client, ledger):
    """Creates up to 50 links in one request, and repeats the request until all links have been created."""
    targets = [fresh_target() for _ in range(random.choice([1, 10, 50]))]
    body, headers = {"links": [{"url": target} for target in targets]}, {"Idempotency-Key": fresh_key()}
    missing = dict(enumerate(targets))
    while missing and not client.is_stopping():
        response = await client.request("POST", "/api/v1/links/batch", body, headers)
        if response and response.status == 200:
            for number, result in enumerate(response.json()["results"]):
                if number in missing and result["status"] in (200, 201):
                    ledger.created(result["link"]["key"], missing.pop(number))
        await pause(0.5)
    await pause(1)


async def browse(client, ledger):
    """Requests a few pages of links, and then one link and its statistics."""
    cursor = ""
    for _ in range(random.choice([1, 1, 5])):
        response = await client.request("GET", f"/api/v1/links?limit=100{cursor}")
        if not response or response.status != 200 or not response.json()["next"]:
            break
        cursor = f"&cursor={response.json()['next']}"
    link = ledger.sample()
    if link:
        await client.request("GET", f"/api/v1/links/{link.key}")
        await client.request("GET", f"/api/v1/links/{link.key}/stats")
    await pause(1)


async def draw(client, ledger):
    """Requests QR codes and previews."""
    link = ledger.sample()
    if link:
        await client.request("GET", f"/{link.key}/qr?format={random.choice(['png', 'svg'])}&size=512")
        await client.request("GET", f"/{link.key}+")
    await pause(0.5)


async def unlock(client, ledger):
    """Creates a link with a password, and tries right and wrong passwords, each time from another client address."""
    key, target = fresh_key(), fresh_target()
    response = await client.request("POST", "/shorten", {"url": target, "key": key, "password": PASSWORD})
    if not response or response.status != 201:
        return
    for password, expected in [(PASSWORD, 303), ("wrong", 403), (PASSWORD, 303)]:
        form = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": address()}
        response = await client.request("POST", f"/{key}", urlencode({"password": password}).encode(), form)
        if response and response.status not in (expected, 429, 503, 504):
            ledger.wrong.append(f"the password of {key} returned {response.status} instead of {expected}")
    await pause(2)


def address():
    return ".".join(str(random.randrange(1, 255)) for _ in range(4))
