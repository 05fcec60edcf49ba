"""Requests that are under way when the server is asked to end.

    inflight.py finish     they are finished, and answered as ever
    inflight.py stall      they never go on
    inflight.py check      what was answered is there
"""

import os
import signal
import socket
import sys
import time

from common import HOST, MIB, ROOT, data, request, signed
from sigv4 import UNSIGNED, Wire

BUCKET = "inflight"
BODY = data(12 * MIB)


def half_put():
    wire = Wire(HOST)
    headers = {"content-length": str(len(BODY))}
    wire.send_head(request("PUT", f"/{BUCKET}/put", headers=headers).sign(ROOT, UNSIGNED))
    wire.send(BODY[: len(BODY) // 2])
    return wire


def half_get():
    wire = Wire(HOST)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire.send_head(request("GET", f"/{BUCKET}/before").sign(ROOT))
    return wire


def ask_to_end():
    os.kill(int(os.environ["UC_SERVER_PID"]), signal.SIGTERM)
    time.sleep(0.5)


def begin():
    assert signed("PUT", f"/{BUCKET}").status in (200, 409)
    assert signed("PUT", f"/{BUCKET}/before", body=BODY).status == 200
    idle = Wire(HOST)
    assert idle.ask(request("GET", f"/{BUCKET}").sign(ROOT)).status == 200
    return idle, half_put(), half_get()


def finish():
    _idle, putting, getting = begin()
    ask_to_end()
    putting.send(BODY[len(BODY) // 2 :])
    answer = putting.answer("PUT")
    assert answer.status == 200, answer
    got = getting.answer("GET")
    assert got.status == 200 and got.body == BODY, len(got.body)


def stall():
    _held = begin()
    ask_to_end()
    # Held open for as long as the server lives, and no longer.
    end = time.monotonic() + 120
    while os.path.exists(f"/proc/{os.environ['UC_SERVER_PID']}/fd") and time.monotonic() < end:
        try:
            os.listdir(f"/proc/{os.environ['UC_SERVER_PID']}/fd")
        except OSError:
            break
        if open(f"/proc/{os.environ['UC_SERVER_PID']}/stat", encoding="ascii").read().split()[2] == "Z":
            break
        time.sleep(0.1)


def check():
    for key in ("before", "put"):
        answer = signed("GET", f"/{BUCKET}/{key}")
        assert answer.status == 200 and answer.body == BODY, (key, answer.status)


if __name__ == "__main__":
    {"finish": finish, "stall": stall, "check": check}[sys.argv[1]]()
