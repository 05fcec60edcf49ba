"""Load that is killed, and the check afterwards.

    load.py run JOURNAL            writes from several threads until the server is gone
    load.py check JOURNAL STATE    compares what was written with what was acknowledged, and the whole listing
    load.py check-all STATE        compares everything with what was there before
    load.py tamper lose|replace    breaks the promise, to see that the check notices

The journal has a line when an operation begins and one when it was acknowledged. A value may be there afterwards
if nothing that began after it was acknowledged has been acknowledged itself; anything else is a lost or a
resurrected write. STATE carries what was found from one round to the next: digest, length and ETag of each key.
"""

import base64
import hashlib
import itertools
import json
import random
import sys
import threading
import time
import xml.etree.ElementTree as xml

from common import HOST, KIB, MIB, PART_MIN, ROOT, request
from sigv4 import UNSIGNED, Wire

BUCKET = "load"
ABSENT = "absent"
THREADS = 6
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Journal:
    def __init__(self, path):
        self.file, self.lock, self.ids = open(path, "a", encoding="ascii"), threading.Lock(), itertools.count()

    def write(self, **line):
        with self.lock:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()

    def begin(self, key, digest):
        number = next(self.ids)
        self.write(id=number, key=key, value=digest, begin=time.monotonic())
        return number

    def acknowledged(self, number):
        self.write(id=number, end=time.monotonic())


class Gone(Exception):
    """The server is not there any more."""


class Writer:
    """One thread's connection, keys and luck."""

    def __init__(self, journal, number, seed):
        self.journal, self.number, self.chance = journal, number, random.Random(seed)
        self.wire, self.values = None, {}

    def ask(self, method, key, query=(), headers=None, body=b""):
        """Sends; the answer if it is a success, else None. Raises Gone."""
        for _ in range(2):
            try:
                if self.wire is None:
                    self.wire = Wire(HOST, timeout_s=60)
                req = request(method, f"/{BUCKET}/{key}" if key is not None else f"/{BUCKET}", query, headers, body)
                answer = self.wire.ask(req.sign(ROOT, UNSIGNED))
            except (OSError, ValueError) as error:
                self.wire = None
                raise Gone from error
            if answer.headers.get("connection") == "close":
                self.wire = None
            if 200 <= answer.status < 300 and b"<Error>" not in answer.body:
                return answer
            if answer.status != 503 and key is not None:
                print(f"refused: {method} {key} {query}: {answer}", file=sys.stderr)
            return None
        return None

    def body(self):
        kind = self.chance.random()
        if kind < 0.55:
            size = self.chance.randrange(0, 8 * KIB + 2)
        elif kind < 0.85:
            size = self.chance.randrange(8 * KIB, 400 * KIB)
        else:
            size = self.chance.randrange(MIB, 4 * MIB)
        return self.chance.randbytes(size)

    def key(self):
        if self.chance.random() < 0.2:
            return f"shared/{self.chance.randrange(6)}"
        return f"own/{self.number}/{self.chance.randrange(12)}"

    def put(self):
        key, body = self.key(), self.body()
        number = self.journal.begin(key, hashlib.sha256(body).hexdigest())
        if self.ask("PUT", key, body=body):
            self.journal.acknowledged(number)

    def delete(self):
        key = self.key()
        number = self.journal.begin(key, ABSENT)
        if self.ask("DELETE", key):
            self.journal.acknowledged(number)

    def delete_batch(self):
        keys = [f"own/{self.number}/{n}" for n in self.chance.sample(range(12), 4)]
        numbers = [self.journal.begin(key, ABSENT) for key in keys]
        body = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
        body = f"<Delete>{body}</Delete>".encode()
        digest = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
        answer = self.ask("POST", None, [("delete", "")], digest, body)
        if answer and answer.body.count(b"<Deleted>") == len(keys):
            for number in numbers:
                self.journal.acknowledged(number)

    def copy(self):
        """A fresh value, shared by two keys, and its first holder deleted: the second must not suffer."""
        source, target = f"source/{self.number}", f"copy/{self.number}/{self.chance.randrange(4)}"
        body = self.body()
        digest = hashlib.sha256(body).hexdigest()
        first = self.journal.begin(source, digest)
        if not self.ask("PUT", source, body=body):
            return
        self.journal.acknowledged(first)
        second = self.journal.begin(target, digest)
        if self.ask("PUT", target, headers={"x-amz-copy-source": f"/{BUCKET}/{source}"}):
            self.journal.acknowledged(second)
        third = self.journal.begin(source, ABSENT)
        if self.ask("DELETE", source):
            self.journal.acknowledged(third)

    def multipart(self):
        key = f"parts/{self.number}/{self.chance.randrange(3)}"
        bodies = [self.chance.randbytes(PART_MIN), self.chance.randbytes(self.chance.randrange(1, 200 * KIB))]
        started = self.ask("POST", key, [("uploads", "")])
        if not started:
            return
        upload = [("uploadId", xml.fromstring(started.body).findtext(NAMESPACE + "UploadId"))]
        parts = ""
        for n, body in enumerate(bodies, 1):
            answer = self.ask("PUT", key, [("partNumber", str(n))] + upload, body=body)
            if not answer:
                return
            parts += f"<Part><PartNumber>{n}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        number = self.journal.begin(key, hashlib.sha256(b"".join(bodies)).hexdigest())
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        if self.ask("POST", key, upload, body=body):
            self.journal.acknowledged(number)

    def abort(self):
        """An upload that comes to nothing; now and then nobody even says so."""
        key = f"parts/{self.number}/{self.chance.randrange(3)}"
        started = self.ask("POST", key, [("uploads", "")])
        if not started:
            return
        upload = [("uploadId", xml.fromstring(started.body).findtext(NAMESPACE + "UploadId"))]
        for n in range(1, 1 + self.chance.randrange(3)):
            self.ask("PUT", key, [("partNumber", str(n))] + upload, body=self.body())
        if self.chance.random() < 0.7:
            self.ask("DELETE", key, upload)

    def run(self):
        operations = [self.put] * 14 + [self.delete] * 2 + [self.copy] * 2
        operations += [self.delete_batch, self.multipart, self.abort]
        try:
            while True:
                self.chance.choice(operations)()
        except Gone:
            pass


def run(path):
    journal = Journal(path)
    answer = Writer(journal, 0, 0).ask("PUT", None)
    assert answer or Writer(journal, 0, 0).ask("HEAD", None), "no bucket"
    writers = [Writer(journal, n, random.SystemRandom().random()) for n in range(THREADS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def operations(path):
    """The journal's operations by key; a line cut off at the end is no line."""
    found = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            record = json.loads(line)
            found.setdefault(record["id"], {"end": None}).update(record)
    by_key = {}
    for operation in found.values():
        by_key.setdefault(operation["key"], []).append(operation)
    acknowledged = sum(op["end"] is not None for op in found.values())
    return by_key, acknowledged, len(found)


def allowed(before, ops):
    """The values that may be there: of the last acknowledged, of those beside it, and of the unanswered."""
    ops = [{"value": before, "begin": -1.0, "end": -1.0}] + ops
    last_begin = max(op["begin"] for op in ops if op["end"] is not None)
    return {op["value"] for op in ops if op["end"] is None or op["end"] >= last_begin}


def listing(wire):
    found, after = {}, ""
    while True:
        query = [("list-type", "2"), ("start-after", after)]
        answer = wire.ask(request("GET", f"/{BUCKET}", query).sign(ROOT))
        assert answer.status == 200, answer
        page = xml.fromstring(answer.body)
        for entry in page.iter(NAMESPACE + "Contents"):
            after = entry.findtext(NAMESPACE + "Key")
            found[after] = (int(entry.findtext(NAMESPACE + "Size")), entry.findtext(NAMESPACE + "ETag"))
        if page.findtext(NAMESPACE + "IsTruncated") != "true":
            return found


def compare(by_key, keys, before):
    """Reads `keys`; what there is now, and what should not be so."""
    wrong, after = [], {}
    with Wire(HOST, timeout_s=120) as wire:
        listed = listing(wire)
        for key in sorted(set(by_key) | set(before) | set(listed)):
            if key not in keys:
                # Nothing was written there: the listing must say what it said.
                after[key] = before[key]
                if listed.get(key) != tuple(before[key][1:]):
                    wrong.append(f"{key}: the listing says {listed.get(key)}, and it was {before[key]}")
                continue
            answer = wire.ask(request("GET", f"/{BUCKET}/{key}").sign(ROOT))
            if answer.status == 200:
                value = hashlib.sha256(answer.body).hexdigest()
                if listed.get(key) != (len(answer.body), answer.headers["etag"]):
                    wrong.append(f"{key}: the listing says {listed.get(key)}, GET {len(answer.body)} {answer.headers}")
                after[key] = [value, len(answer.body), answer.headers["etag"]]
            elif answer.status == 404:
                value = ABSENT
                if key in listed:
                    wrong.append(f"{key}: listed and not there")
            else:
                wrong.append(f"{key}: {answer}")
                continue
            may_be = allowed(before.get(key, [ABSENT])[0], by_key.get(key, []))
            if value not in may_be:
                wrong.append(f"{key}: {value} is none of {may_be}; {by_key.get(key)}")
    return wrong, after


def told(state_path, wrong, after, **figures):
    with open(state_path, "w", encoding="ascii") as file:
        json.dump(after, file)
    print(json.dumps(figures | {"keys": len(after)}))
    for line in wrong:
        print(line[:2000], file=sys.stderr)
    sys.exit(1 if wrong else 0)


def state_of(state_path):
    try:
        with open(state_path, encoding="ascii") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def check(journal_path, state_path):
    by_key, acknowledged, begun = operations(journal_path)
    before = state_of(state_path)
    with Wire(HOST, timeout_s=120) as wire:
        unknown = set(listing(wire)) - set(before)
    wrong, after = compare(by_key, set(by_key) | unknown, before)
    told(state_path, wrong, after, acknowledged=acknowledged, begun=begun)


def check_all(state_path):
    before = state_of(state_path)
    with Wire(HOST, timeout_s=120) as wire:
        keys = set(listing(wire)) | set(before)
    wrong, after = compare({}, keys, before)
    told(state_path, wrong, after)


def tamper(how):
    with Wire(HOST) as wire:
        key = min(key for key, (size, _) in listing(wire).items() if size > 0)
        if how == "lose":
            answer = wire.ask(request("DELETE", f"/{BUCKET}/{key}").sign(ROOT))
        else:
            answer = wire.ask(request("PUT", f"/{BUCKET}/{key}", body=b"something else").sign(ROOT))
        assert answer.status in (200, 204), answer


if __name__ == "__main__":
    {"run": run, "check": check, "check-all": check_all, "tamper": tamper}[sys.argv[1]](*sys.argv[2:])
