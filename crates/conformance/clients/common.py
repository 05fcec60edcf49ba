"""What the scripts share: where the server is, clients for it, made-up data, and the way tests are run."""

import contextlib
import hashlib
import os
import random
import sys
import unittest
import urllib.parse

import sigv4

ENDPOINT = os.environ.get("UC_ENDPOINT", "http://127.0.0.1:9000")
HOST = urllib.parse.urlsplit(ENDPOINT).netloc
REGION = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
ROOT = sigv4.Identity(os.environ.get("AWS_ACCESS_KEY_ID", "root"), os.environ.get("AWS_SECRET_ACCESS_KEY", "secret"))
OTHER = sigv4.Identity(os.environ.get("UC_OTHER_KEY", "other"), os.environ.get("UC_OTHER_SECRET", "secret"))
OTHER_ACCOUNT = "424242424242"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PART_MIN = 5 * MIB

_counter = 0


def unique(stem="b"):
    """A bucket name that nobody else uses."""
    global _counter
    _counter += 1
    return f"{stem}-{os.getpid()}-{_counter}-{random.randrange(1 << 32):08x}"


def data(size, seed=0):
    """`size` bytes that no compression and no misplaced block can fake."""
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def md5(content):
    return hashlib.md5(content).hexdigest()


def boto(identity=ROOT, **config):
    """A boto3 client that tries once."""
    import boto3
    from botocore.config import Config

    config.setdefault("s3", {"addressing_style": "path"})
    config.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
    config.setdefault("read_timeout", 120)
    config.setdefault("signature_version", "s3v4")
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name=REGION,
        aws_access_key_id=identity.key_id,
        aws_secret_access_key=identity.secret,
        config=Config(**config),
    )


def request(method, path, query=(), headers=None, body=b"", **more):
    """An unsigned request to the server."""
    return sigv4.Request(method, path, query, headers, body, host=HOST, **more)


def ask(req, timeout_s=60):
    return sigv4.ask(HOST, req, timeout_s)


def signed(method, path, query=(), headers=None, body=b"", identity=ROOT, **more):
    """Sends a request signed by header."""
    return ask(request(method, path, query, headers, body, **more).sign(identity))


def server_status(field):
    """A figure of the server's /proc status, in KiB (`VmRSS`, `VmHWM`)."""
    with open(f"/proc/{os.environ['UC_SERVER_PID']}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise AssertionError(field)


class Case(unittest.TestCase):
    """A test case with a client and a bucket of its own."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.s3 = boto()
        cls.bucket = unique(cls.__name__.lower())
        cls.s3.create_bucket(Bucket=cls.bucket)

    @contextlib.contextmanager
    def refused(self, status, *codes):
        """Expects an S3 error of this status and one of these codes, with all that a refusal must have."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            answer = error.response
            got = (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"])
            expected = codes or (str(status),)
            self.assertEqual(got[0], status, f"{got} for {status} {codes}: {answer['Error']}")
            self.assertIn(got[1], expected, f"{got}: {answer['Error']}")
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            self.assertTrue(headers.get("x-amz-request-id"), headers)
        else:
            self.fail(f"no refusal where {status} {codes} was expected")

    def put(self, key, body=b"", **more):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)

    def read(self, key, **more):
        return self.get(key, **more)["Body"].read()

    def keys(self, **more):
        """All keys of the bucket (or of `Bucket`), over all pages."""
        more.setdefault("Bucket", self.bucket)
        pages = self.s3.get_paginator("list_objects_v2").paginate(**more)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def same(self, got, expected, what=""):
        """Compares bytes without printing megabytes."""
        if got != expected:
            same = zip(got, expected)
            first = next((at for at, (a, b) in enumerate(same) if a != b), min(len(got), len(expected)))
            self.fail(f"{what}: {len(got)} bytes for {len(expected)}, first difference at {first}")

    def assert_refused_raw(self, answer, status, *codes):
        """An S3 error over the bare wire: status, code, XML, request id in header and body."""
        self.assertEqual(answer.status, status, f"{answer} for {status} {codes}")
        if codes:
            self.assertIn(answer.code(), codes, answer)
        self.assertIn("xml", answer.headers.get("content-type", ""), answer)
        request_id = answer.headers.get("x-amz-request-id", "")
        self.assertTrue(request_id, answer)
        self.assertIn(f"<RequestId>{request_id}</RequestId>".encode(), answer.body, answer)


def main():
    """Runs the tests of the calling script; prints how many there were."""
    program = unittest.main(exit=False, verbosity=2 if "-v" in sys.argv else 1)
    result = program.result
    print(f"ran {result.testsRun} failed {len(result.failures) + len(result.errors)} skipped {len(result.skipped)}")
    sys.exit(0 if result.wasSuccessful() and not result.skipped else 1)
