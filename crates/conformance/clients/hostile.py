"""What no client should do, over a bare socket. After each of it the server must still serve, and nothing that
was not wholly received may be visible."""

import contextlib
import os
import random
import socket
import struct
import threading
import time

from common import HOST, KIB, MIB, ROOT, Case, data, main, request, server_status, signed
from sigv4 import UNSIGNED, Wire

MEMORY_LIMIT_KIB = 512 * KIB


def descriptors():
    return len(os.listdir(f"/proc/{os.environ['UC_SERVER_PID']}/fd"))


def eventually(check, what, limit_s=60):
    """Waits for `check` to hold; a liveness deadline, not a measurement."""
    end = time.monotonic() + limit_s
    while not check():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.1)


class Hostile(Case):
    def setUp(self):
        self.put("kept", b"kept" * 5000)

    def tearDown(self):
        # Whatever was done to it: it serves.
        def served():
            answer = signed("GET", f"/{self.bucket}/kept")
            if answer.status == 503:
                return False
            self.assertEqual((answer.status, answer.body), (200, b"kept" * 5000))
            return True

        eventually(served, "the server serves again")
        self.put("alive", data(300 * KIB))
        self.same(self.read("alive"), data(300 * KIB))

    def put_request(self, key, size, **headers):
        req = request("PUT", f"/{self.bucket}/{key}", headers={"content-length": str(size), **headers})
        return req.sign(ROOT, UNSIGNED)

    def refused_or_closed(self, wire, statuses):
        """The server answers with one of these, or hangs up."""
        try:
            answer = wire.answer()
        except (ConnectionError, ValueError, IndexError):
            return
        self.assertIn(answer.status, statuses, answer)


class Bodies(Hostile):
    def test_shorter_than_declared(self):
        for declared, sent in ((1000, 0), (1000, 999), (300_000, 1), (3 * MIB, 2 * MIB), (3 * MIB, 3 * MIB - 1)):
            with self.subTest(declared, sent=sent), Wire(HOST) as wire:
                wire.send_head(self.put_request("short", declared))
                wire.send(data(sent))
                wire.socket.shutdown(socket.SHUT_WR)
                self.refused_or_closed(wire, (400,))
        self.assertEqual(self.keys(Prefix="short"), [])

    def test_longer_than_declared(self):
        for declared, sent in ((5, 50), (0, 5), (200_000, 300_000)):
            with self.subTest(declared, sent=sent), Wire(HOST) as wire:
                wire.send_head(self.put_request("longer", declared))
                try:
                    wire.send(b"x" * sent)
                    with contextlib.suppress(OSError):  # closed already
                        wire.socket.shutdown(socket.SHUT_WR)
                    self.assertEqual(wire.answer().status, 200)
                    # The rest is no request.
                    self.refused_or_closed(wire, (400, 431))
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.assertEqual(self.read("longer"), b"x" * declared)

    def test_without_a_length(self):
        req = request("PUT", f"/{self.bucket}/nolength").sign(ROOT, UNSIGNED)
        with Wire(HOST) as wire:
            head = "".join(f"{n}: {v}\r\n" for n, v in req.headers.items())
            wire.send(f"PUT {req.target()} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            wire.send(b"5\r\n12345\r\n0\r\n\r\n")
            answer = wire.answer()
        self.assert_refused_raw(answer, 411, "MissingContentLength")
        self.assertEqual(self.keys(Prefix="nolength"), [])

    def test_nonsense_lengths(self):
        for value in ("-1", "x", "1e3", "18446744073709551616", "5, 6", "+5", "0x5"):
            req = self.put_request("length", 5)
            req.headers["content-length"] = value
            with self.subTest(value), Wire(HOST) as wire:
                wire.send_head(req)
                self.refused_or_closed(wire, (400, 411, 413))
        self.assertEqual(self.keys(Prefix="length"), [])

    def test_two_lengths_and_smuggling(self):
        req = self.put_request("smuggled", 5)
        head = "".join(f"{n}: {v}\r\n" for n, v in req.headers.items())
        hidden = f"GET /{self.bucket}/kept HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        for extra in ("Content-Length: 50\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: x, chunked\r\n"):
            with self.subTest(extra), Wire(HOST) as wire:
                wire.send(f"PUT {req.target()} HTTP/1.1\r\n{head}{extra}\r\n0\r\n\r\n{hidden}".encode())
                self.refused_or_closed(wire, (400, 403, 411, 501))
        self.assertEqual(self.keys(Prefix="smuggled"), [])

    def test_too_large_is_refused_before_it_is_sent(self):
        for size in (5 * 1024 * MIB + 1, 2**62):
            with self.subTest(size), Wire(HOST) as wire:
                wire.send_head(self.put_request("huge", size))
                answer = wire.answer()
                self.assert_refused_raw(answer, 400, "EntityTooLarge")

    def test_expect_is_answered_before_the_body(self):
        with Wire(HOST) as wire:
            wire.send_head(self.put_request("expect", 5, expect="100-continue"))
            self.assertIn(b"100", wire.reader.readline())
            wire.reader.readline()
            wire.send(b"12345")
            self.assertEqual(wire.answer().status, 200)
        req = request("PUT", f"/{self.bucket}/expect", headers={"content-length": "5", "expect": "100-continue"})
        with Wire(HOST) as wire:
            wire.send_head(req)  # anonymous: refused, and no body asked for
            answer = wire.answer()
            self.assert_refused_raw(answer, 403, "AccessDenied")
            # Its body will not come, so nothing else can: a client must be told, not just cut off.
            self.assertEqual(answer.headers.get("connection"), "close", answer)
        self.assertEqual(self.read("expect"), b"12345")

    def test_a_body_where_none_belongs(self):
        for method in ("GET", "DELETE"):
            answer = signed(method, f"/{self.bucket}/nobody", body=b"x" * 10_000)
            self.assertIn(answer.status, (204, 400, 404), answer)


class Vanishing(Hostile):
    def vanish(self, req, sent, gently=False):
        with Wire(HOST) as wire:
            wire.send_head(req)
            wire.send(sent)
            if not gently:  # a reset, as from a cable that was cut
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def test_in_mid_upload_nothing_becomes_visible(self):
        self.put("old", b"old")
        before = descriptors()
        for size, sent in ((8000, 4000), (100_000, 70_000), (20 * MIB, 9 * MIB)):
            for key in ("new", "old"):
                for gently in (True, False):
                    self.vanish(self.put_request(key, size), data(sent), gently)
        self.assertEqual(self.keys(Prefix="new"), [])
        self.assertEqual(self.read("old"), b"old")
        eventually(lambda: descriptors() <= before + 8, "the files and sockets of dead uploads are closed")

    def test_in_mid_part(self):
        up = {"Bucket": self.bucket, "Key": "up"}
        up["UploadId"] = self.s3.create_multipart_upload(**up)["UploadId"]
        query = [("partNumber", "1"), ("uploadId", up["UploadId"])]
        for gently in (True, False):
            headers = {"content-length": str(6 * MIB)}
            req = request("PUT", f"/{self.bucket}/up", query, headers).sign(ROOT, UNSIGNED)
            self.vanish(req, data(4 * MIB), gently)
        self.assertNotIn("Parts", self.s3.list_parts(**up))
        self.s3.abort_multipart_upload(**up)

    def test_in_mid_download(self):
        self.put("big", data(20 * MIB))
        before = descriptors()
        for _ in range(20):
            with Wire(HOST) as wire:
                wire.send_head(request("GET", f"/{self.bucket}/big").sign(ROOT))
                wire.reader.read(100_000)
        eventually(lambda: descriptors() <= before + 8, "the files and sockets of dead downloads are closed")

    def test_after_the_last_byte(self):
        # Whether it was stored nobody can tell the client, but it must be all or nothing.
        for n in range(10):
            self.vanish(self.put_request(f"last-{n}", 300_000), data(300_000, n))
        time.sleep(1)
        for n in range(10):
            answer = signed("GET", f"/{self.bucket}/last-{n}")
            if answer.status == 200:
                self.same(answer.body, data(300_000, n))
            else:
                self.assertEqual(answer.status, 404)


class Nonsense(Hostile):
    def test_huge_headers(self):
        many = {f"x-{n}": "y" for n in range(2000)}
        for headers in ({"x-long": "y" * MIB}, many, {"x-amz-meta-" + "n" * 100_000: "v"}):
            with Wire(HOST) as wire:
                try:
                    wire.send_head(request("GET", f"/{self.bucket}/kept", headers=headers).sign(ROOT))
                    self.refused_or_closed(wire, (400, 403, 431))
                except (BrokenPipeError, ConnectionResetError):
                    pass

    def test_huge_targets(self):
        for raw in ("/" + "k" * 100_000, f"/{self.bucket}/k?" + "a=b&" * 50_000):
            with Wire(HOST) as wire:
                try:
                    wire.send_head(request("GET", "", raw_path=raw))
                    self.refused_or_closed(wire, (400, 403, 414, 431))
                except (BrokenPipeError, ConnectionResetError):
                    pass

    def test_targets_that_are_none(self):
        for target in ("*", "//", "/%", "/%zz", "/\x01", "http://", f"http://{HOST}/{self.bucket}/kept", "/?", "/%00"):
            with self.subTest(target), Wire(HOST) as wire:
                wire.send(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode("latin-1"))
                self.refused_or_closed(wire, (400, 403, 404))

    def test_bytes_that_are_no_request(self):
        chance = random.Random(3)
        hello = bytes.fromhex("1603010200010001fc0303") + chance.randbytes(500)
        lines = [b"\r\n" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 10_000, hello, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        for junk in lines + [chance.randbytes(chance.randrange(1, 5000)) for _ in range(60)]:
            with Wire(HOST, timeout_s=20) as wire:
                try:
                    wire.send(junk)
                    wire.socket.shutdown(socket.SHUT_WR)
                    wire.reader.read(4096)
                except OSError:
                    pass  # it hung up, as it may

    def test_headers_that_are_none(self):
        for line in (b"no colon", b": no name", b"a b: c", b"x-amz-meta-\xff: \xff", b"x-amz-meta-a: \x00", b"host: two"):
            with self.subTest(line), Wire(HOST) as wire:
                head = f"GET /{self.bucket}/kept HTTP/1.1\r\nHost: {HOST}\r\n".encode()
                wire.send(head + line + b"\r\n\r\n")
                self.refused_or_closed(wire, (400, 403))

    def test_no_host(self):
        with Wire(HOST) as wire:
            wire.send(b"GET / HTTP/1.1\r\n\r\n")
            self.refused_or_closed(wire, (400, 403))

    def test_random_queries_and_headers_never_break_it(self):
        chance = random.Random(11)
        names = "list-type max-keys marker delimiter prefix uploads uploadId partNumber versionId delete location"
        names = names.split() + ["encoding-type", "continuation-token", "start-after", "response-expires", "x-id"]
        values = ["", "0", "-1", "1", "99999999999999999999", "\x00", "é", "%", "a" * 3000, "null", "url", "/", "\n"]
        heads = ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-md5"]
        heads += ["x-amz-copy-source", "x-amz-checksum-crc32", "x-amz-meta-a", "content-encoding", "x-amz-trailer"]
        heads += ["x-amz-decoded-content-length", "x-amz-expected-bucket-owner", "x-amz-checksum-type"]
        texts = ["", "bytes=", "bytes=0-0,5-6", "*", '"', "Thu, 99 Foo 2026", "a" * 3000, "-", "/", "99999999999999999999"]
        for _ in range(400):
            query = [(chance.choice(names), chance.choice(values)) for _ in range(chance.randrange(3))]
            headers = {chance.choice(heads): chance.choice(texts) for _ in range(chance.randrange(3))}
            method = chance.choice(["GET", "HEAD", "PUT", "POST", "DELETE"])
            path = chance.choice([f"/{self.bucket}/fuzz", f"/{self.bucket}/", "/"])
            if method == "DELETE" and not path.endswith("fuzz"):
                continue
            answer = signed(method, path, query, headers, body=b"body" if method in ("PUT", "POST") else b"")
            self.assertNotIn(answer.status, (500, 502), f"{method} {path} {query} {headers}: {answer}")


class Crowds(Hostile):
    def storm(self, count, work):
        """Runs `work(n)` on as many threads at once; their results."""
        results, threads = [], []

        def run(n):
            try:
                results.append(work(n))
            except (ConnectionError, TimeoutError, OSError) as error:
                results.append(error)

        for n in range(count):
            threads.append(threading.Thread(target=run, args=(n,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return results

    def test_a_storm_of_puts(self):
        body = data(MIB)

        def put(n):
            with Wire(HOST, timeout_s=300) as wire:
                req = self.put_request(f"storm/{n}", len(body))
                req.body = body
                return n, wire.ask(req)

        good = []
        for result in self.storm(300, put):
            # A refusal while the body is still being sent can reach us as a reset.
            if isinstance(result, ConnectionError):
                continue
            self.assertNotIsInstance(result, Exception)
            n, answer = result
            self.assertIn(answer.status, (200, 503), answer)
            if answer.status == 200:
                good.append(n)
            else:
                self.assertEqual(answer.code(), "SlowDown", answer)
        self.assertTrue(good, "nobody was served")
        self.assertLess(server_status("VmHWM"), MEMORY_LIMIT_KIB)
        listed = set(self.keys(Prefix="storm/"))
        self.assertLessEqual({f"storm/{n}" for n in good}, listed)
        for key in list(listed)[:20]:
            self.same(self.read(key), body)

    def test_a_storm_of_gets(self):
        body = data(8 * MIB)
        self.put("popular", body)

        def get(_):
            with Wire(HOST, timeout_s=300) as wire:
                answer = wire.ask(request("GET", f"/{self.bucket}/popular").sign(ROOT))
                return answer.status, answer.status == 200 and answer.body == body, answer.code()

        good = 0
        for result in self.storm(60, get):
            self.assertNotIsInstance(result, Exception)
            status, same, code = result
            self.assertTrue(same or (status == 503 and code == "SlowDown"), result)
            good += same
        self.assertTrue(good, "nobody was served")
        self.assertLess(server_status("VmHWM"), MEMORY_LIMIT_KIB)

    def test_too_many_at_once_are_told_to_slow_down(self):
        wires = []
        try:
            for n in range(700):  # more than the server answers at a time: each waits for its body
                wires.append(Wire(HOST, timeout_s=60))
                wires[-1].send_head(self.put_request(f"crowd/{n}", 100))
            answer = signed("GET", f"/{self.bucket}/kept")
            self.assert_refused_raw(answer, 503, "SlowDown")
        finally:
            for wire in wires:
                wire.close()
        self.assertLess(server_status("VmHWM"), MEMORY_LIMIT_KIB)

        def nothing_of_it():
            answer = signed("GET", f"/{self.bucket}", [("list-type", "2"), ("prefix", "crowd/")])
            return answer.status == 200 and b"<Key>" not in answer.body

        eventually(nothing_of_it, "the crowd is gone and has left nothing")

    def test_uploads_that_stall_cost_no_memory(self):
        wires = []
        try:
            for n in range(200):
                wire = Wire(HOST, timeout_s=20)
                wires.append(wire)
                wire.send_head(self.put_request(f"stalled/{n}", 64 * MIB))
                wire.socket.setblocking(False)
                left = memoryview(data(3 * MIB))
                while left:
                    try:
                        left = left[wire.socket.send(left) :]
                    except BlockingIOError:  # as much as the server and the kernel want to take
                        break
                    except ConnectionError:
                        break
            time.sleep(2)
            self.assertLess(server_status("VmHWM"), MEMORY_LIMIT_KIB)
            # Small reads are still served, or told to come back.
            answer = signed("GET", f"/{self.bucket}/kept")
            self.assertIn(answer.status, (200, 503), answer)
        finally:
            for wire in wires:
                wire.close()
        self.assertEqual(self.keys(Prefix="stalled/"), [])

    def test_readers_that_stall_cost_no_memory(self):
        self.put("large", data(40 * MIB))
        wires = []
        try:
            for _ in range(60):
                wire = Wire(HOST)
                wires.append(wire)
                wire.send_head(request("GET", f"/{self.bucket}/large").sign(ROOT))
            time.sleep(2)
            self.assertLess(server_status("VmHWM"), MEMORY_LIMIT_KIB)
            answer = signed("GET", f"/{self.bucket}/kept")
            self.assertIn(answer.status, (200, 503), answer)
        finally:
            for wire in wires:
                wire.close()

    def test_idle_and_dribbling_connections(self):
        idle = [socket.create_connection(tuple(HOST.rsplit(":", 1))) for _ in range(300)]
        try:
            for n, connection in enumerate(idle):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nx-slow: "[: 5 + n % 30])
            for _ in range(20):
                self.assertEqual(self.read("kept"), b"kept" * 5000)
        finally:
            for connection in idle:
                connection.close()

    def test_a_slow_client_is_served(self):
        body = data(50_000)
        with Wire(HOST) as wire:
            wire.send_head(self.put_request("slow", len(body)))
            for at in range(0, len(body), 5000):
                wire.send(body[at : at + 5000])
                time.sleep(0.1)
            self.assertEqual(wire.answer().status, 200)
        self.same(self.read("slow"), body)

    def test_pipelined_requests_are_answered_in_order(self):
        with Wire(HOST) as wire:
            for key in ("kept", "missing", "kept"):
                wire.send_head(request("GET", f"/{self.bucket}/{key}").sign(ROOT))
            self.assertEqual([wire.answer().status for _ in range(3)], [200, 404, 200])

    def test_one_connection_serves_many(self):
        with Wire(HOST) as wire:
            for n in range(300):
                req = self.put_request(f"many/{n % 10}", 100)
                req.body = data(100, n)
                self.assertEqual(wire.ask(req).status, 200)
        self.assertEqual(len(self.keys(Prefix="many/")), 10)


if __name__ == "__main__":
    main()
