"""Readers and writers that go on while drives are lost and damaged, and forgive nothing.

    churn.py run JOURNAL STOP      until the file STOP is there; tells what was read and written
    churn.py check JOURNAL         every object that was acknowledged is there and whole, and nothing else

Each writer has keys of its own, so what each of them holds is known at any time: the last value acknowledged, or,
after a write that got no answer of success, that one or the one before. Readers read these and the objects of
`dataset.py fill base`, whole and in ranges. A read that fails, or gives one wrong byte, fails the run; a write may be
told to come again (503).
"""

import hashlib
import json
import os
import random
import sys
import threading
import time
import xml.etree.ElementTree as xml

import dataset
from common import HOST, KIB, MIB, PART_MIN, ROOT, request
from sigv4 import UNSIGNED, Wire

BUCKET = dataset.BUCKET
WRITERS, READERS, KEYS = 3, 3, 14
NAMESPACE = dataset.NAMESPACE


class Key:
    """What a key may hold: bodies by their digests; `None` is nothing."""

    def __init__(self, name):
        self.name, self.lock, self.may_hold, self.changes = name, threading.Lock(), {None: None}, 0

    def snapshot(self):
        with self.lock:
            return self.changes, dict(self.may_hold)

    def begin(self, body):
        with self.lock:
            self.changes += 1
            self.may_hold[digest(body)] = body

    def done(self, body):
        with self.lock:
            self.changes += 1
            self.may_hold = {digest(body): body}


def digest(body):
    return None if body is None else hashlib.sha256(body).hexdigest()


class Run:
    def __init__(self, stop):
        self.stop, self.lock = stop, threading.Lock()
        self.figures = {"reads": 0, "writes": 0, "slow_downs": 0, "bytes_read": 0, "slowest_read_ms": 0}
        self.wrong = []
        whole, parts = dataset.contents("base")
        self.base = whole | {key: b"".join(bodies) for key, bodies in parts.items()}
        self.keys = [[Key(f"churn/{n}/{k}") for k in range(KEYS)] for n in range(WRITERS)]

    def goes_on(self):
        return not os.path.exists(self.stop) and len(self.wrong) < 20

    def count(self, **more):
        with self.lock:
            for name, by in more.items():
                self.figures[name] += by

    def fail(self, text):
        with self.lock:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {text}")


class Hand:
    """One thread's connection and luck."""

    def __init__(self, run, seed):
        self.run, self.chance, self.wire = run, random.Random(seed), None

    def ask(self, method, key, query=(), headers=None, body=b""):
        if self.wire is None:
            self.wire = Wire(HOST, timeout_s=60)
        try:
            answer = self.wire.ask(request(method, f"/{BUCKET}/{key}", query, headers, body).sign(ROOT, UNSIGNED))
        except (OSError, ValueError):
            self.wire = None
            raise
        if answer.headers.get("connection") == "close":
            self.wire = None
        return answer


class Writer(Hand):
    def __init__(self, run, seed, keys):
        super().__init__(run, seed)
        self.keys = keys

    def body(self):
        kind = self.chance.random()
        if kind < 0.3:
            return self.chance.randbytes(self.chance.randrange(0, 8 * KIB))
        if kind < 0.93:
            return self.chance.randbytes(self.chance.randrange(9 * KIB, 600 * KIB))
        return self.chance.randbytes(self.chance.randrange(3 * MIB, 6 * MIB))

    def change(self, key, body, ask):
        """Writes `body`; `ask` gives the last answer, or None when it came to nothing before."""
        key.begin(body)
        try:
            answer = ask()
        except (OSError, ValueError) as error:
            self.run.fail(f"write of {key.name}: {error!r}")
            return
        if answer is not None and answer.status in (200, 204) and b"<Error>" not in answer.body:
            key.done(body)
            self.run.count(writes=1)
        elif answer is None or answer.status == 503:
            self.run.count(slow_downs=1)
            time.sleep(0.1)
        else:
            self.run.fail(f"write of {key.name}: {answer}")

    def parts(self, key, bodies):
        started = self.ask("POST", key.name, [("uploads", "")])
        if started.status != 200:
            return started
        upload = [("uploadId", xml.fromstring(started.body).findtext(NAMESPACE + "UploadId"))]
        listed = ""
        for n, body in enumerate(bodies, 1):
            answer = self.ask("PUT", key.name, [("partNumber", str(n))] + upload, body=body)
            if answer.status != 200:
                self.ask("DELETE", key.name, upload)
                return answer
            listed += f"<Part><PartNumber>{n}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        return self.ask("POST", key.name, upload, body=body)

    def step(self):
        key = self.chance.choice(self.keys)
        kind = self.chance.random()
        if kind < 0.1:
            self.change(key, None, lambda: self.ask("DELETE", key.name))
        elif kind < 0.12:
            bodies = [self.chance.randbytes(PART_MIN), self.chance.randbytes(200 * KIB)]
            self.change(key, b"".join(bodies), lambda: self.parts(key, bodies))
        else:
            body = self.body()
            self.change(key, body, lambda: self.ask("PUT", key.name, body=body))

    def work(self):
        while self.run.goes_on():
            self.step()
            time.sleep(self.chance.random() * 0.2)


class Reader(Hand):
    def get(self, name, headers):
        begin = time.monotonic()
        answer = self.ask("GET", name, headers=headers)
        took_ms = int(1000 * (time.monotonic() - begin))
        with self.run.lock:
            figures = self.run.figures
            figures["reads"] += 1
            figures["bytes_read"] += len(answer.body)
            figures["slowest_read_ms"] = max(figures["slowest_read_ms"], took_ms)
        return answer

    def range(self, size):
        """A range of an object of that size, or all of it: header, status, slice."""
        if size == 0 or self.chance.random() < 0.4:
            return {}, 200, slice(0, size)
        first = self.chance.randrange(size)
        last = min(size - 1, first + self.chance.randrange(1 + 512 * KIB))
        return {"range": f"bytes={first}-{last}"}, 206, slice(first, last + 1)

    def read_base(self):
        name, body = self.chance.choice(sorted(self.run.base.items()))
        headers, status, part = self.range(len(body))
        answer = self.get(name, headers)
        if answer.status != status:
            self.run.fail(f"read of {name} {headers}: {answer}")
        elif answer.body != body[part]:
            self.run.fail(f"WRONG BYTES of {name} {headers}: {len(answer.body)}")

    def read_changing(self):
        key = self.chance.choice(self.chance.choice(self.run.keys))
        changes, before = key.snapshot()
        answer = self.get(key.name, {})
        if answer.status not in (200, 404):
            self.run.fail(f"read of {key.name}: {answer}")
            return
        found = digest(answer.body) if answer.status == 200 else None
        now, after = key.snapshot()
        # What it held at any moment between the two looks; with more than two changes there were others.
        if found not in before and found not in after and now <= changes + 2:
            self.run.fail(f"WRONG BYTES of {key.name}: {found} is none of {list(before)} and {list(after)}")

    def work(self):
        while self.run.goes_on():
            self.chance.choice([self.read_base, self.read_base, self.read_changing])()
            time.sleep(self.chance.random() * 0.02)


def guarded(hand):
    """A connection that breaks is a failure as any other."""
    while hand.run.goes_on():
        try:
            hand.work()
        except (OSError, ValueError) as error:
            hand.run.fail(f"{type(hand).__name__}: {error!r}")


def run(journal, stop):
    state = Run(stop)
    luck = random.SystemRandom()
    hands = [Writer(state, luck.random(), keys) for keys in state.keys]
    hands += [Reader(state, luck.random()) for _ in range(READERS)]
    threads = [threading.Thread(target=guarded, args=(hand,)) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(journal, "w", encoding="ascii") as file:
        json.dump({key.name: list(key.may_hold) for keys in state.keys for key in keys}, file)
    for line in state.wrong:
        print(line[:1000], file=sys.stderr)
    print(json.dumps(state.figures | {"failed": len(state.wrong)}))
    sys.exit(1 if state.wrong else 0)


def check(journal):
    with open(journal, encoding="ascii") as file:
        may_hold = json.load(file)
    wrong = []
    with Wire(HOST, timeout_s=120) as wire:
        for name, digests in may_hold.items():
            answer = wire.ask(request("GET", f"/{BUCKET}/{name}").sign(ROOT))
            found = {200: digest(answer.body), 404: None}.get(answer.status, answer)
            if found not in digests:
                wrong.append(f"{name}: {found} is none of {digests}")
    print(json.dumps({"keys": len(may_hold), "wrong": wrong}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    {"run": run, "check": check}[sys.argv[1]](*sys.argv[2:])
