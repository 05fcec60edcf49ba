"""Checksums and body framings: given in headers, given in trailers, computed by the server; kept, returned,
and refused when wrong."""

import base64
import hashlib
import zlib

import awscrt.checksums as crt
from botocore.exceptions import ClientError

import sigv4
from common import KIB, MIB, PART_MIN, ROOT, Case, ask, boto, data, main, request, signed

ALGORITHMS = {
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "CRC32C": lambda body: crt.crc32c(body).to_bytes(4, "big"),
    "CRC64NVME": lambda body: crt.crc64nvme(body).to_bytes(8, "big"),
    "SHA1": lambda body: hashlib.sha1(body).digest(),
    "SHA256": lambda body: hashlib.sha256(body).digest(),
}
MODES = (sigv4.STREAMING_TRAILER, sigv4.UNSIGNED_TRAILER)


def b64(raw):
    return base64.b64encode(raw).decode()


def value_of(algorithm, body):
    return b64(ALGORITHMS[algorithm](body))


class Objects(Case):
    def checked(self, key, algorithm, body):
        """Reads the object with its checksum (which boto3 verifies too)."""
        got = self.get(key, ChecksumMode="ENABLED")
        self.same(got["Body"].read(), body)
        self.assertEqual(got.get("Checksum" + algorithm), value_of(algorithm, body))
        self.assertEqual(got.get("ChecksumType"), "FULL_OBJECT")
        head = self.s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        self.assertEqual(head.get("Checksum" + algorithm), value_of(algorithm, body))
        self.assertNotIn("Checksum" + algorithm, self.s3.head_object(Bucket=self.bucket, Key=key))

    def test_of_every_algorithm_and_size(self):
        for algorithm in ALGORITHMS:
            for size in (0, 5, 8 * KIB + 1, 700_001):
                with self.subTest(algorithm, size=size):
                    body = data(size)
                    put = self.put("c", body, ChecksumAlgorithm=algorithm)
                    self.assertEqual(put["Checksum" + algorithm], value_of(algorithm, body))
                    self.checked("c", algorithm, body)

    def test_listings_tell_the_algorithm(self):
        self.put("listed", b"x", ChecksumAlgorithm="SHA256")
        entry = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="listed")["Contents"][0]
        self.assertEqual(entry["ChecksumAlgorithm"], ["SHA256"])
        self.assertEqual(entry["ChecksumType"], "FULL_OBJECT")

    def test_wrong_values_are_refused_and_leave_nothing(self):
        for algorithm in ALGORITHMS:
            for size in (5, 500 * KIB):
                with self.subTest(algorithm, size=size):
                    wrong = {"Checksum" + algorithm: value_of(algorithm, b"another body")}
                    with self.refused(400, "BadDigest"):
                        self.put("wrong", data(size), **wrong)
        for size in (5, 500 * KIB):
            with self.refused(400, "BadDigest"):
                self.put("wrong", data(size), ContentMD5=b64(hashlib.md5(b"another").digest()))
        self.assertEqual(self.keys(Prefix="wrong"), [])

    def test_wrong_values_leave_the_old_object(self):
        self.put("kept", b"old")
        with self.refused(400, "BadDigest"):
            self.put("kept", b"new", ChecksumSHA256=value_of("SHA256", b"neither"))
        self.assertEqual(self.read("kept"), b"old")

    def test_a_right_md5_is_accepted(self):
        for size in (0, 5, 500 * KIB):
            self.put("md5", data(size), ContentMD5=b64(hashlib.md5(data(size)).digest()))

    def test_values_that_are_no_values(self):
        for name, value in [
            ("x-amz-checksum-crc32", "not base64!"),
            ("x-amz-checksum-crc32", b64(b"12345")),
            ("x-amz-checksum-sha256", b64(b"short")),
            ("content-md5", "nonsense"),
            ("content-md5", b64(b"short")),
        ]:
            with self.subTest(name, value=value):
                answer = signed("PUT", f"/{self.bucket}/nonsense", headers={name: value}, body=b"12345")
                self.assert_refused_raw(answer, 400, "InvalidRequest", "InvalidDigest", "BadDigest")
        self.assertEqual(self.keys(Prefix="nonsense"), [])

    def test_two_values_at_once(self):
        headers = {f"x-amz-checksum-{a.lower()}": value_of(a, b"x") for a in ("CRC32", "SHA256")}
        answer = signed("PUT", f"/{self.bucket}/two", headers=headers, body=b"x")
        self.assert_refused_raw(answer, 400, "InvalidRequest")

    def test_a_value_of_another_algorithm_than_named(self):
        headers = {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-crc32": value_of("CRC32", b"x")}
        answer = signed("PUT", f"/{self.bucket}/two", headers=headers, body=b"x")
        self.assertIn(answer.status, (200, 400), answer)
        headers["x-amz-checksum-crc32"] = value_of("CRC32", b"y")
        answer = signed("PUT", f"/{self.bucket}/two-wrong", headers=headers, body=b"x")
        self.assertEqual(answer.status, 400, answer)

    def test_ranges_do_not_carry_the_whole_checksum_as_theirs(self):
        self.put("r", data(1000), ChecksumAlgorithm="SHA256")
        got = self.get("r", Range="bytes=0-9", ChecksumMode="ENABLED")
        self.same(got["Body"].read(), data(1000)[:10])

    def test_copies_keep_it(self):
        body = data(300 * KIB)
        self.put("from", body, ChecksumAlgorithm="CRC32C")
        copied = self.s3.copy_object(Bucket=self.bucket, Key="to", CopySource=f"{self.bucket}/from")
        self.assertEqual(copied["CopyObjectResult"]["ChecksumCRC32C"], value_of("CRC32C", body))
        self.checked("to", "CRC32C", body)

    def test_copies_can_ask_for_another(self):
        body = data(300 * KIB)
        self.put("from", body, ChecksumAlgorithm="CRC32C")
        source = {"CopySource": f"{self.bucket}/from", "ChecksumAlgorithm": "SHA256"}
        self.s3.copy_object(Bucket=self.bucket, Key="to", **source)
        self.checked("to", "SHA256", body)


class Framings(Case):
    """aws-chunked bodies, put together by hand."""

    def send(self, key, body, mode, **more):
        spoil = more.pop("spoil", None)
        identity = more.pop("identity", ROOT)
        req = request("PUT", f"/{self.bucket}/{key}", headers=more.pop("headers", None))
        req.chunked(identity, body, mode, **more)
        if spoil:
            spoil(req)
            req.headers["content-length"] = str(sum(len(c) for c in req.body))
        return ask(req)

    def test_signed_chunks(self):
        for size, chunk in ((0, 8 * KIB), (5, 8 * KIB), (100_000, 8 * KIB), (3 * MIB + 1, 64 * KIB), (2 * MIB, MIB)):
            with self.subTest(size):
                body = data(size)
                answer = self.send("signed", body, sigv4.STREAMING, chunk=chunk)
                self.assertEqual(answer.status, 200, answer)
                got = self.get("signed")
                self.same(got["Body"].read(), body)
                self.assertNotIn("aws-chunked", got.get("ContentEncoding", ""))

    def test_content_encoding_beside_aws_chunked_is_kept(self):
        req = request("PUT", f"/{self.bucket}/enc")
        req.chunked(ROOT, b"body", sigv4.STREAMING)
        req.headers["content-encoding"] = "aws-chunked,gzip"
        self.assertEqual(ask(req).status, 200)
        self.assertEqual(self.get("enc")["ContentEncoding"], "gzip")

    def test_trailers_of_every_algorithm(self):
        for mode in MODES:
            for algorithm in ALGORITHMS:
                for size in (0, 5, 300_000):
                    with self.subTest(mode, algorithm=algorithm, size=size):
                        body = data(size)
                        trailer = (f"x-amz-checksum-{algorithm.lower()}", value_of(algorithm, body))
                        answer = self.send("trailer", body, mode, trailer=trailer)
                        self.assertEqual(answer.status, 200, answer)
                        self.assertEqual(answer.headers.get(trailer[0]), trailer[1])
                        got = self.get("trailer", ChecksumMode="ENABLED")
                        self.same(got["Body"].read(), body)
                        self.assertEqual(got["Checksum" + algorithm], trailer[1])

    def test_wrong_trailers(self):
        for mode in MODES:
            for algorithm in ALGORITHMS:
                with self.subTest(mode, algorithm=algorithm):
                    trailer = (f"x-amz-checksum-{algorithm.lower()}", value_of(algorithm, b"another"))
                    answer = self.send("bad-trailer", data(100_000), mode, trailer=trailer)
                    self.assert_refused_raw(answer, 400, "BadDigest")
            with self.subTest(mode, value="nonsense"):
                answer = self.send("bad-trailer", data(1000), mode, trailer=("x-amz-checksum-crc32", "?"))
                self.assertEqual(answer.status, 400, answer)
        self.assertEqual(self.keys(Prefix="bad-trailer"), [])

    def test_promised_trailers_that_do_not_come(self):
        def no_trailer(req):
            req.body[-1] = b"\r\n"

        def another(req):
            req.body[-1] = b"x-amz-checksum-sha1:" + value_of("SHA1", b"12345").encode() + b"\r\n\r\n"

        def cut(req):
            req.body[-1] = b""

        trailer = ("x-amz-checksum-crc32", value_of("CRC32", b"12345"))
        for spoil in (no_trailer, another, cut):
            with self.subTest(spoil.__name__):
                answer = self.send("no-trailer", b"12345", sigv4.UNSIGNED_TRAILER, trailer=trailer, spoil=spoil)
                self.assertEqual(answer.status, 400, answer)
        self.assertEqual(self.keys(Prefix="no-trailer"), [])

    def test_spoilt_chunks_are_refused_and_nothing_is_visible(self):
        def flip(req):
            at = len(req.body) // 2
            req.body[at] = req.body[at][:-3] + bytes([req.body[at][-3] ^ 1]) + b"\r\n"

        def swap(req):
            req.body[0], req.body[1] = req.body[1], req.body[0]

        def drop(req):
            del req.body[1]

        def no_signature(req):
            head, rest = req.body[1].split(b"\r\n", 1)
            req.body[1] = head.split(b";")[0] + b"\r\n" + rest

        def bad_last(req):
            req.body[-1] = req.body[-1].replace(b"chunk-signature=", b"chunk-signature=0")[:-3] + b"\r\n\r\n"

        def replay(req):
            req.body.insert(1, req.body[0])

        for spoil in (flip, swap, drop, no_signature, bad_last, replay):
            with self.subTest(spoil.__name__):
                answer = self.send("spoilt", data(200_000), sigv4.STREAMING, spoil=spoil)
                self.assertIn(answer.status, (400, 403), answer)
                self.assertTrue(answer.code(), answer)
        self.assertEqual(self.keys(Prefix="spoilt"), [])

    def test_spoilt_framing(self):
        def no_end(req):
            req.body[-1] = b""

        def bad_size(req):
            req.body[0] = b"zz" + req.body[0]

        def negative(req):
            req.body[0] = b"-" + req.body[0]

        def huge(req):
            req.body[0] = b"ffffffffffffffff" + req.body[0]

        def endless_head(req):
            req.body[0] = b"1;" + b"x" * 200_000

        def no_crlf(req):
            req.body[0] = req.body[0].replace(b"\r\n", b"\n\n")

        trailer = ("x-amz-checksum-crc32", value_of("CRC32", data(1000)))
        for spoil in (no_end, bad_size, negative, huge, endless_head, no_crlf):
            for mode in (sigv4.STREAMING, sigv4.UNSIGNED_TRAILER):
                with self.subTest(spoil.__name__, mode=mode):
                    more = {"trailer": trailer} if mode == sigv4.UNSIGNED_TRAILER else {}
                    answer = self.send("framing", data(1000), mode, spoil=spoil, **more)
                    self.assertIn(answer.status, (400, 403), answer)
        self.assertEqual(self.keys(Prefix="framing"), [])

    def test_false_decoded_length(self):
        for declared in (999, 1001, 0, 10**6):
            for mode in (sigv4.STREAMING, sigv4.UNSIGNED_TRAILER):
                with self.subTest(declared, mode=mode):
                    more = {}
                    if mode == sigv4.UNSIGNED_TRAILER:
                        more["trailer"] = ("x-amz-checksum-crc32", value_of("CRC32", data(1000)))
                    answer = self.send("length", data(1000), mode, declared=declared, **more)
                    self.assertEqual(answer.status, 400, answer)
        self.assertEqual(self.keys(Prefix="length"), [])

    def test_parts_and_trailers(self):
        up = {"Bucket": self.bucket, "Key": "mp"}
        up["UploadId"] = self.s3.create_multipart_upload(**up, ChecksumAlgorithm="CRC32C")["UploadId"]
        body = data(PART_MIN)
        query = [("partNumber", "1"), ("uploadId", up["UploadId"])]
        req = request("PUT", f"/{self.bucket}/mp", query)
        trailer = ("x-amz-checksum-crc32c", value_of("CRC32C", body))
        answer = ask(req.chunked(ROOT, body, sigv4.UNSIGNED_TRAILER, trailer=trailer))
        self.assertEqual(answer.status, 200, answer)
        part = {"PartNumber": 1, "ETag": answer.headers["etag"], "ChecksumCRC32C": trailer[1]}
        self.s3.complete_multipart_upload(**up, MultipartUpload={"Parts": [part]})
        self.same(self.read("mp"), body)


class Multipart(Case):
    BODIES = [data(PART_MIN, 1), data(PART_MIN + 1, 2), data(33, 3)]

    def upload(self, key, algorithm, kind=None, spoil=None, **more):
        at = {"Bucket": self.bucket, "Key": key}
        kind = {"ChecksumType": kind} if kind else {}
        made = self.s3.create_multipart_upload(**at, ChecksumAlgorithm=algorithm, **kind)
        self.assertEqual(made["ChecksumAlgorithm"], algorithm)
        at["UploadId"] = made["UploadId"]
        parts = []
        for number, body in enumerate(self.BODIES, 1):
            got = self.s3.upload_part(**at, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
            name = "Checksum" + algorithm
            self.assertEqual(got[name], value_of(algorithm, body))
            parts.append({"PartNumber": number, "ETag": got["ETag"], name: got[name]})
        listed = self.s3.list_parts(**at)
        self.assertEqual([p[name] for p in listed["Parts"]], [p[name] for p in parts])
        self.assertEqual(listed["ChecksumAlgorithm"], algorithm)
        if spoil:
            parts[1][name] = spoil
        return at, self.s3.complete_multipart_upload(**at, MultipartUpload={"Parts": parts}, **more)

    def test_composite(self):
        for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
            with self.subTest(algorithm):
                _, answer = self.upload("composite", algorithm)
                inner = b"".join(ALGORITHMS[algorithm](b) for b in self.BODIES)
                expected = value_of(algorithm, inner) + "-3"
                self.assertEqual(answer["Checksum" + algorithm], expected)
                head = self.s3.head_object(Bucket=self.bucket, Key="composite", ChecksumMode="ENABLED")
                self.assertEqual((head["Checksum" + algorithm], head["ChecksumType"]), (expected, "COMPOSITE"))
                part = self.get("composite", PartNumber=2, ChecksumMode="ENABLED")
                self.same(part["Body"].read(), self.BODIES[1])
                self.assertEqual(part.get("Checksum" + algorithm), value_of(algorithm, self.BODIES[1]))

    def test_full_object(self):
        for algorithm in ("CRC64NVME", "CRC32", "CRC32C"):
            with self.subTest(algorithm):
                _, answer = self.upload("full", algorithm, "FULL_OBJECT")
                expected = value_of(algorithm, b"".join(self.BODIES))
                self.assertEqual(answer["Checksum" + algorithm], expected)
                self.assertEqual(answer["ChecksumType"], "FULL_OBJECT")
                got = self.get("full", ChecksumMode="ENABLED")
                self.same(got["Body"].read(), b"".join(self.BODIES))
                self.assertEqual(got["Checksum" + algorithm], expected)

    def test_crc64_is_always_of_the_full_object(self):
        _, answer = self.upload("crc64", "CRC64NVME")
        self.assertEqual(answer["ChecksumCRC64NVME"], value_of("CRC64NVME", b"".join(self.BODIES)))

    def test_a_declared_whole_is_verified(self):
        right = value_of("CRC32", b"".join(self.BODIES))
        self.upload("declared", "CRC32", "FULL_OBJECT", ChecksumCRC32=right, ChecksumType="FULL_OBJECT")
        with self.refused(400, "BadDigest", "InvalidRequest"):
            wrong = value_of("CRC32", b"else")
            self.upload("declared-wrong", "CRC32", "FULL_OBJECT", ChecksumCRC32=wrong, ChecksumType="FULL_OBJECT")
        self.assertEqual(self.keys(Prefix="declared-wrong"), [])

    def test_a_wrong_part_checksum_in_the_list(self):
        with self.refused(400, "InvalidPart"):
            self.upload("listed-wrong", "SHA256", spoil=value_of("SHA256", b"else"))
        self.assertEqual(self.keys(Prefix="listed-wrong"), [])

    def test_impossible_kinds(self):
        for algorithm in ("SHA1", "SHA256"):
            with self.refused(400, "InvalidRequest"):
                more = {"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"}
                self.s3.create_multipart_upload(Bucket=self.bucket, Key="k", **more)
        with self.refused(400, "InvalidRequest"):
            more = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}
            self.s3.create_multipart_upload(Bucket=self.bucket, Key="k", **more)

    def test_a_part_of_another_algorithm(self):
        at = {"Bucket": self.bucket, "Key": "k"}
        at["UploadId"] = self.s3.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]
        with self.refused(400, "InvalidRequest", "BadDigest"):
            self.s3.upload_part(**at, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")
        self.s3.abort_multipart_upload(**at)

    def test_a_wrong_part(self):
        at = {"Bucket": self.bucket, "Key": "k"}
        at["UploadId"] = self.s3.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]
        with self.refused(400, "BadDigest"):
            self.s3.upload_part(**at, PartNumber=1, Body=b"x", ChecksumSHA256=value_of("SHA256", b"y"))
        self.assertNotIn("Parts", self.s3.list_parts(**at))
        self.s3.abort_multipart_upload(**at)

    def test_no_checksums_at_all(self):
        s3 = boto(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        at = {"Bucket": self.bucket, "Key": "plain"}
        up = dict(at, UploadId=s3.create_multipart_upload(**at)["UploadId"])
        etag = s3.upload_part(**up, PartNumber=1, Body=self.BODIES[0])["ETag"]
        s3.complete_multipart_upload(**up, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        self.same(s3.get_object(**at)["Body"].read(), self.BODIES[0])
        try:
            s3.put_object(**at, Body=b"plain")
        except ClientError as error:
            self.fail(f"a body without a checksum was refused: {error}")


if __name__ == "__main__":
    main()
