"""One object that is too big to hold, in and out, and what the server's memory did meanwhile.

    stream.py SIZE_MIB [LIMIT_MIB]

By hand, for ten gibibytes: set UC_ENDPOINT, UC_SERVER_PID and the AWS_ variables, and say `stream.py 10240`.
Over five gibibytes the object goes in by parts, as S3 wants it.
"""

import hashlib
import json
import random
import sys
import xml.etree.ElementTree as xml

from common import GIB, HOST, MIB, ROOT, request, server_status
from sigv4 import UNSIGNED, Wire

BUCKET, PART = "stream", GIB
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
# Blocks differ by their number in front, so that no two places of the object are alike.
BLOCK = random.Random(1).randbytes(MIB - 8)


def blocks(first, count):
    for n in range(first, first + count):
        yield n.to_bytes(8, "big") + BLOCK


def send(wire, query, first, count):
    """Puts `count` blocks as an object or part; the ETag."""
    headers = {"content-length": str(count * MIB)}
    wire.send_head(request("PUT", f"/{BUCKET}/big", query, headers).sign(ROOT, UNSIGNED))
    digest = hashlib.md5()
    for block in blocks(first, count):
        digest.update(block)
        wire.send(block)
    answer = wire.answer("PUT")
    assert answer.status == 200 and answer.headers["etag"] == f'"{digest.hexdigest()}"', answer
    return answer.headers["etag"]


def put(wire, count):
    if count * MIB <= 5 * GIB:
        return send(wire, [], 0, count)
    answer = wire.ask(request("POST", f"/{BUCKET}/big", [("uploads", "")]).sign(ROOT))
    upload = [("uploadId", xml.fromstring(answer.body).findtext(NAMESPACE + "UploadId"))]
    parts, step = "", PART // MIB
    for n, first in enumerate(range(0, count, step), 1):
        etag = send(wire, [("partNumber", str(n))] + upload, first, min(step, count - first))
        parts += f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    answer = wire.ask(request("POST", f"/{BUCKET}/big", upload, body=body).sign(ROOT))
    assert answer.status == 200 and b"<ETag>" in answer.body, answer


def get(wire, count):
    wire.send_head(request("GET", f"/{BUCKET}/big").sign(ROOT))
    status = wire.reader.readline()
    assert b" 200 " in status, status
    length = None
    while (line := wire.reader.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    assert length == count * MIB, length
    for n, block in enumerate(blocks(0, count)):
        got = wire.reader.read(MIB)
        assert got == block, f"block {n} differs"


def main():
    count = int(sys.argv[1])
    limit_kib = 1024 * int(sys.argv[2] if len(sys.argv) > 2 else 512)
    report = {"idle_kib": server_status("VmRSS")}
    with Wire(HOST, timeout_s=300) as wire:
        created = wire.ask(request("PUT", f"/{BUCKET}").sign(ROOT))
        assert created.status in (200, 409), created
        put(wire, count)
        report["after_put_peak_kib"] = server_status("VmHWM")
        get(wire, count)
    report["after_get_peak_kib"] = server_status("VmHWM")
    print(json.dumps(report))
    assert report["after_get_peak_kib"] < limit_kib, report


if __name__ == "__main__":
    main()
