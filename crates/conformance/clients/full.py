"""Drives that fill up: writes are refused with words that fit, and everything else goes on.

    full.py JOURNAL fill        writes until it is refused; nothing of what was refused is visible
    full.py JOURNAL check       everything that was acknowledged reads back, and is listed
    full.py JOURNAL refused     a write is still refused; deletes and reads are not
    full.py JOURNAL empty       deletes most of it
    full.py JOURNAL written     writes are taken again
"""

import json
import random
import sys
import time

from common import HOST, KIB, MIB, ROOT, data, request
from sigv4 import UNSIGNED, Wire

BUCKET = "full"
SIZES = [3 * MIB, 200 * KIB, 6 * MIB, 40 * KIB]


def ask(method, key, body=b"", query=()):
    with Wire(HOST, timeout_s=120) as wire:
        path = f"/{BUCKET}/{key}" if key else f"/{BUCKET}"
        return wire.ask(request(method, path, query, body=body).sign(ROOT, UNSIGNED))


def body(number):
    return data(SIZES[number % len(SIZES)], number)


def assert_full(answer):
    assert answer.status == 507 or answer.code() == "SlowDown", answer
    assert answer.code() and answer.headers.get("x-amz-request-id"), answer


def fill():
    assert ask("PUT", "").status == 200
    written, refused = [], 0
    number = 0
    # Small ones still fit when large ones do not: full is when none of a round is taken.
    while refused < len(SIZES):
        key = f"key-{number}"
        answer = ask("PUT", key, body(number))
        if answer.status == 200:
            written.append(number)
            refused = 0
        else:
            assert_full(answer)
            refused += 1
            assert ask("GET", key).status == 404, "what was refused is visible"
        number += 1
        assert number < 2000, "it is never full"
    return written


def check(written):
    for number in written:
        answer = ask("GET", f"key-{number}")
        assert answer.status == 200 and answer.body == body(number), (number, answer.status)
    listed = ask("GET", "", query=[("list-type", "2")])
    assert listed.body.count(b"<Key>") == min(1000, len(written)), listed


def refused(written):
    for size in (6 * MIB, 3 * MIB):
        assert_full(ask("PUT", "more", data(size)))
    some = random.Random(1).choice(written)
    assert ask("DELETE", f"key-{some}").status == 204
    assert ask("GET", f"key-{some}").status == 404
    written.remove(some)


def empty(written):
    for number in written[3:]:
        assert ask("DELETE", f"key-{number}").status == 204
    del written[3:]


def written_again():
    """Room that was given back is found within moments."""
    end = time.monotonic() + 30
    while True:
        answer = ask("PUT", "again", data(6 * MIB, 9))
        if answer.status == 200:
            break
        assert_full(answer)
        assert time.monotonic() < end, answer
        time.sleep(0.2)
    assert ask("GET", "again").body == data(6 * MIB, 9)


def main():
    path, step = sys.argv[1:]
    if step == "fill":
        written = fill()
    else:
        with open(path, encoding="ascii") as file:
            written = json.load(file)
        if step == "written":
            written_again()
        else:
            {"check": check, "refused": refused, "empty": empty}[step](written)
    with open(path, "w", encoding="ascii") as file:
        json.dump(written, file)
    print(json.dumps({"objects": len(written), "bytes": sum(len(body(n)) for n in written)}))


if __name__ == "__main__":
    main()
