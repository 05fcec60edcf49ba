"""Signature Version 4 by hand, and HTTP over a bare socket.

For what a well-behaved client never sends: every byte of a request can be chosen, and a request can be signed
and then spoilt. Nothing here depends on a library.
"""

import datetime
import hashlib
import hmac
import socket
import urllib.parse

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def quote(text, safe="-_.~"):
    """Percent-encodes as the signature wants it."""
    return urllib.parse.quote(text, safe=safe)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Identity:
    """An access key."""

    def __init__(self, key_id, secret, region="us-east-1", service="s3"):
        self.key_id, self.secret, self.region, self.service = key_id, secret, region, service

    def scope(self, now):
        return f"{now:%Y%m%d}/{self.region}/{self.service}/aws4_request"

    def signature(self, now, text):
        key = ("AWS4" + self.secret).encode()
        for step in (f"{now:%Y%m%d}", self.region, self.service, "aws4_request"):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def utc_now(offset_s=0):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset_s)


class Request:
    """A request that can be signed. `path` is not encoded yet unless `raw_path` is given; `query` is a list of
    pairs, not encoded; header names are in lower case."""

    def __init__(self, method, path, query=(), headers=None, body=b"", raw_path=None, host=None):
        self.method = method
        self.path = raw_path if raw_path is not None else quote(path, safe="/-_.~")
        self.query = [(name, value) for name, value in query]
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.body = body
        self.host = host
        self.seed = ""  # signature that the chunks of a streaming body begin from
        self.now = utc_now()

    def query_string(self):
        return "&".join(f"{quote(n)}={quote(v)}" for n, v in self.query)

    def target(self):
        query = self.query_string()
        return self.path + ("?" + query if query else "")

    def _string_to_sign(self, identity, signed, payload):
        pairs = sorted((quote(n), quote(v)) for n, v in self.query)
        canonical = "\n".join(
            [
                self.method,
                self.path,
                "&".join(f"{n}={v}" for n, v in pairs),
                "".join(f"{n}:{' '.join(self.headers[n].split())}\n" for n in signed),
                ";".join(signed),
                payload,
            ]
        )
        stamp = f"{self.now:%Y%m%dT%H%M%SZ}"
        return "\n".join(["AWS4-HMAC-SHA256", stamp, identity.scope(self.now), sha256(canonical.encode())])

    def sign(self, identity, payload=None, skew_s=0, unsigned=()):
        """Signs by header. `unsigned` names headers that the signature leaves out."""
        self.now = utc_now(skew_s)
        payload = payload or sha256(self.body)
        self.headers.setdefault("host", self.host)
        self.headers["x-amz-date"] = f"{self.now:%Y%m%dT%H%M%SZ}"
        self.headers["x-amz-content-sha256"] = payload
        signed = sorted(
            n for n in self.headers if (n in ("host", "content-md5") or n.startswith("x-amz-")) and n not in unsigned
        )
        self.seed = identity.signature(self.now, self._string_to_sign(identity, signed, payload))
        self.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={identity.key_id}/{identity.scope(self.now)}, "
            f"SignedHeaders={';'.join(signed)}, Signature={self.seed}"
        )
        return self

    def presign(self, identity, expires_s=300, skew_s=0, unsigned=()):
        """Signs by query."""
        self.now = utc_now(skew_s)
        self.headers.setdefault("host", self.host)
        signed = sorted(n for n in self.headers if n not in unsigned)
        self.query += [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{identity.key_id}/{identity.scope(self.now)}"),
            ("X-Amz-Date", f"{self.now:%Y%m%dT%H%M%SZ}"),
            ("X-Amz-Expires", str(expires_s)),
            ("X-Amz-SignedHeaders", ";".join(signed)),
        ]
        signature = identity.signature(self.now, self._string_to_sign(identity, signed, UNSIGNED))
        self.query.append(("X-Amz-Signature", signature))
        return self

    def chunked(self, identity, data, mode, chunk=65536, trailer=None, declared=None):
        """Turns the request into an aws-chunked upload of `data` and signs it. `trailer` is a pair; `declared` is
        a false decoded length. The body is a list of chunks, so that a caller can spoil one."""
        self.headers["content-encoding"] = "aws-chunked"
        self.headers["x-amz-decoded-content-length"] = str(len(data) if declared is None else declared)
        if trailer:
            self.headers["x-amz-trailer"] = trailer[0]
        self.sign(identity, mode)
        signed = mode != UNSIGNED_TRAILER
        stamp, scope = f"{self.now:%Y%m%dT%H%M%SZ}", identity.scope(self.now)
        previous, chunks = self.seed, []
        pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)] + [b""]
        for piece in pieces:
            head = f"{len(piece):x}"
            if signed:
                text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, EMPTY_SHA256, sha256(piece)])
                previous = identity.signature(self.now, text)
                head += f";chunk-signature={previous}"
            end = b"" if trailer and not piece else b"\r\n"
            chunks.append(head.encode() + b"\r\n" + piece + end)
        if trailer:
            text = f"{trailer[0]}:{trailer[1]}\n"
            last = text.strip() + "\r\n"
            if signed:
                text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, scope, previous, sha256(text.encode())])
                last += f"x-amz-trailer-signature:{identity.signature(self.now, text)}\r\n"
            chunks.append(last.encode() + b"\r\n")
        self.body = chunks
        self.headers["content-length"] = str(sum(len(c) for c in chunks))
        return self


class Response:
    """An answer: `status`, `headers` (lower case), `body`."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def code(self):
        """The `Code` of an S3 error."""
        text = self.body.decode("utf-8", "replace")
        return text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else ""

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:600]!r}>"


class Wire:
    """A connection to `host:port`."""

    def __init__(self, host, timeout_s=60):
        name, port = host.rsplit(":", 1)
        self.host = host
        self.socket = socket.create_connection((name, int(port)), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_head(self, request):
        request.headers.setdefault("host", self.host)
        if request.body and "content-length" not in request.headers:
            request.headers["content-length"] = str(len(request.body))
        elif request.method in ("PUT", "POST"):
            request.headers.setdefault("content-length", "0")
        lines = [f"{request.method} {request.target()} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        self.send("\r\n".join(lines).encode("latin-1", "surrogateescape") + b"\r\n\r\n")

    def ask(self, request):
        """Sends all of it and reads the answer."""
        try:
            self.send_head(request)
            for piece in request.body if isinstance(request.body, list) else [request.body]:
                self.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end: the answer may still be there
        return self.answer(request.method)

    def answer(self, method="GET"):
        """Reads an answer; interim ones (100) are skipped."""
        while True:
            line = self.reader.readline()
            if not line.startswith(b"HTTP/1.") or not line.endswith(b"\n"):
                raise ConnectionError("closed without an answer")
            status, headers = int(line.split()[1]), {}
            while (line := self.reader.readline()) not in (b"\r\n", b""):
                name, value = line.decode("latin-1").split(":", 1)
                headers[name.strip().lower()] = value.strip()
            if status >= 200:
                break
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self.reader.read(int(headers["content-length"]))
            if len(body) != int(headers["content-length"]):
                raise ConnectionError("the answer ends early")
        else:
            body = self.reader.read()
        return Response(status, headers, body)

    def _chunks(self):
        body = b""
        while True:
            line = self.reader.readline()
            if not line:
                raise ConnectionError("the answer ends early")
            size = int(line.split(b";")[0], 16)
            body += self.reader.read(size)
            self.reader.readline()
            if not size:
                return body


def ask(host, request, timeout_s=60):
    """One request on a connection of its own."""
    with Wire(host, timeout_s) as wire:
        return wire.ask(request)
