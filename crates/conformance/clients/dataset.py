"""Objects of every layout, written once and read back under whatever happened since.

    dataset.py fill PREFIX           writes them
    dataset.py check PREFIX          every one must read back byte for byte, in every way of reading
    dataset.py survey PREFIX         each reads back byte for byte or fails clearly; never wrong bytes
"""

import json
import random
import sys
import xml.etree.ElementTree as xml

from common import HOST, KIB, MIB, PART_MIN, ROOT, data, request
from sigv4 import UNSIGNED, Wire

BUCKET = "dataset"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
INLINE = [0, 1, 100, 8 * KIB]
SIZES = INLINE + [8 * KIB + 1, 64 * KIB, 192 * KIB + 1, 777_777, 3 * MIB, 3 * MIB + 1, 10 * MIB + 13]
SMALL = 30
PARTS = {"two": [PART_MIN, 11], "four": [PART_MIN + 1, PART_MIN, 2 * PART_MIN + 7, 300 * KIB]}


def contents(prefix):
    """Name to bytes of all the objects, and the parts of those that have some."""
    seed = sum(prefix.encode())
    whole = {f"{prefix}/size-{size}": data(size, seed) for size in SIZES}
    whole |= {f"{prefix}/small-{n}": data(10_000 + n * 3000, seed + n) for n in range(SMALL)}
    parts = {f"{prefix}/parts-{n}": [data(size, seed + size) for size in sizes] for n, sizes in PARTS.items()}
    return whole, parts


def ask(wire, method, key, query=(), body=b"", **headers):
    req = request(method, f"/{BUCKET}/{key}" if key else f"/{BUCKET}", query, headers, body)
    return wire.ask(req.sign(ROOT, UNSIGNED))


def must(answer):
    assert answer.status == 200, answer
    return answer


def fill(prefix):
    whole, parts = contents(prefix)
    with Wire(HOST) as wire:
        created = ask(wire, "PUT", "")
        assert created.status in (200, 409), created
        for key, body in whole.items():
            must(ask(wire, "PUT", key, body=body, **{"x-amz-meta-key": key}))
        for key, bodies in parts.items():
            started = must(ask(wire, "POST", key, [("uploads", "")]))
            upload = [("uploadId", xml.fromstring(started.body).findtext(NAMESPACE + "UploadId"))]
            listed = ""
            for n, body in enumerate(bodies, 1):
                etag = must(ask(wire, "PUT", key, [("partNumber", str(n))] + upload, body)).headers["etag"]
                listed += f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
            done = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
            assert b"<ETag>" in must(ask(wire, "POST", key, upload, done)).body
    print(json.dumps({"written": len(whole) + len(parts)}))


class Reader:
    def __init__(self, strict):
        self.strict, self.whole, self.failed, self.failed_keys = strict, 0, 0, set()

    def read(self, key, expected, status, query=(), **headers):
        """One reading on a connection of its own, as a failure may break it."""
        try:
            with Wire(HOST, timeout_s=120) as wire:
                answer = ask(wire, "GET", key, query, **headers)
        except ConnectionError as error:
            answer = error
        if isinstance(answer, Exception) or answer.status in (500, 503):
            assert not self.strict, f"{key} {headers} {query}: {answer}"
            self.failed += 1
            self.failed_keys.add(key.split("/", 1)[1])
        else:
            assert answer.status == status, f"{key} {headers}: {answer}"
            assert answer.body == expected, f"WRONG BYTES: {key} {headers} {query}: {len(answer.body)}"
            self.whole += 1

    def everything(self, prefix):
        whole, parts = contents(prefix)
        chance = random.Random(5)
        for key, body in (whole | {key: b"".join(bodies) for key, bodies in parts.items()}).items():
            self.read(key, body, 200)
            for _ in range(4 if len(body) > 8 * KIB else 1):
                if body:
                    first = chance.randrange(len(body))
                    last = min(len(body) - 1, first + chance.randrange(2 * MIB))
                    self.read(key, body[first : last + 1], 206, range=f"bytes={first}-{last}")
        for key, bodies in parts.items():
            for n, body in enumerate(bodies, 1):
                self.read(key, body, 206, [("partNumber", str(n))])
        with Wire(HOST) as wire:
            page = xml.fromstring(must(ask(wire, "GET", "", [("list-type", "2"), ("prefix", prefix + "/")])).body)
        listed = {e.findtext(NAMESPACE + "Key"): e.findtext(NAMESPACE + "Size") for e in page.iter(NAMESPACE + "Contents")}
        sizes = {key: len(body) for key, body in whole.items()} | {k: sum(map(len, b)) for k, b in parts.items()}
        assert listed == {key: str(size) for key, size in sizes.items()}, "the listing is not what was written"
        print(json.dumps({"whole": self.whole, "failed": self.failed, "failed_keys": sorted(self.failed_keys)}))


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2])
    else:
        Reader(sys.argv[1] == "check").everything(sys.argv[2])
