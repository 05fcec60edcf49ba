"""Who gets in: signatures in headers and URLs, every operation by every identity, and the holes that other
stores had."""

import hashlib
import urllib.parse
import urllib.request

from common import HOST, OTHER, PART_MIN, ROOT, Case, ask, boto, data, main, request, signed, unique
from sigv4 import STREAMING, UNSIGNED, UNSIGNED_TRAILER, Identity

DAY = 86_400


class Headers(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"body")
        cls.path = f"/{cls.bucket}/k"

    def test_a_right_one_passes(self):
        for payload in (None, UNSIGNED):
            answer = ask(request("GET", self.path).sign(ROOT, payload))
            self.assertEqual((answer.status, answer.body), (200, b"body"))

    def test_wrong_secret(self):
        answer = signed("GET", self.path, identity=Identity(ROOT.key_id, "wrong"))
        self.assert_refused_raw(answer, 403, "SignatureDoesNotMatch")

    def test_unknown_key(self):
        for key_id in ("NOBODYKNOWSME", "x", "é", "a" * 500):
            answer = signed("GET", self.path, identity=Identity(key_id, "wrong"))
            codes = ("InvalidAccessKeyId", "AuthorizationHeaderMalformed", "InvalidRequest")
            self.assertIn(answer.code(), codes, answer)
            self.assertIn(answer.status, (400, 403))

    def test_another_accounts_key_with_our_secret(self):
        answer = signed("GET", self.path, identity=Identity(OTHER.key_id, ROOT.secret))
        self.assert_refused_raw(answer, 403, "SignatureDoesNotMatch")

    def test_skewed_clocks(self):
        for skew in (-16 * 60, 16 * 60, -DAY, 365 * DAY):
            answer = ask(request("GET", self.path).sign(ROOT, skew_s=skew))
            self.assert_refused_raw(answer, 403, "RequestTimeTooSkewed")
        for skew in (-14 * 60, 14 * 60):
            self.assertEqual(ask(request("GET", self.path).sign(ROOT, skew_s=skew)).status, 200)

    def test_scope(self):
        for identity in (
            Identity(ROOT.key_id, ROOT.secret, region="mars-north-1"),
            Identity(ROOT.key_id, ROOT.secret, service="sts"),
        ):
            answer = signed("GET", self.path, identity=identity)
            self.assertIn(answer.status, (400, 403), answer)
            self.assertIn(answer.code(), ("AuthorizationHeaderMalformed", "SignatureDoesNotMatch", "AccessDenied"))

    def test_what_was_signed_cannot_be_changed(self):
        def path(req):
            req.path = f"/{self.bucket}/other"

        def method(req):
            req.method = "DELETE"

        def query(req):
            req.query.append(("partNumber", "1"))

        def host(req):
            req.headers["host"] = "elsewhere:1"

        def date(req):
            req.headers["x-amz-date"] = "20300101T000000Z"

        def payload(req):
            req.headers["x-amz-content-sha256"] = UNSIGNED

        def signature(req):
            text = req.headers["authorization"]
            req.headers["authorization"] = text[:-1] + ("0" if text[-1] != "0" else "1")

        for spoil in (path, method, query, host, date, payload, signature):
            with self.subTest(spoil.__name__):
                req = request("GET", self.path).sign(ROOT)
                spoil(req)
                answer = ask(req)
                self.assertIn(answer.status, (400, 403), answer)
        self.assertEqual(self.read("k"), b"body")

    def test_signed_headers_cannot_be_changed_or_added(self):
        req = request("PUT", f"/{self.bucket}/meta", headers={"x-amz-meta-a": "1"}, body=b"x").sign(ROOT)
        req.headers["x-amz-meta-a"] = "2"
        self.assert_refused_raw(ask(req), 403, "SignatureDoesNotMatch")
        # Signed without it, sent with it: this made a PUT of one object a copy of any other.
        for name, value in (("x-amz-meta-b", "2"), ("x-amz-copy-source", self.path), ("x-amz-acl", "private")):
            req = request("PUT", f"/{self.bucket}/meta", body=b"x").sign(ROOT)
            req.headers[name] = value
            self.assert_refused_raw(ask(req), 403, "AccessDenied", "HeadersNotSigned")
        self.assertNotIn("meta", self.keys())

    def test_host_must_be_signed(self):
        req = request("GET", self.path).sign(ROOT, unsigned=("host",))
        self.assertIn(ask(req).status, (400, 403))

    def test_body_must_be_what_was_signed(self):
        for size in (5, 300_000):
            req = request("PUT", f"/{self.bucket}/hash", body=data(size)).sign(ROOT, hashlib.sha256(b"else").hexdigest())
            self.assert_refused_raw(ask(req), 400, "XAmzContentSHA256Mismatch", "BadDigest")
        for wrong in ("nonsense", "a" * 63, "STREAMING-NOTHING"):
            req = request("PUT", f"/{self.bucket}/hash", body=b"12345").sign(ROOT, wrong)
            self.assertIn(ask(req).status, (400, 403, 501), wrong)
        self.assertNotIn("hash", self.keys())

    def test_malformed_headers(self):
        good = request("GET", self.path).sign(ROOT).headers
        for text in (
            "",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 " + "x" * 5000,
            "AWS AKID:c2lnbmF0dXJl",
            "Bearer token",
            "Basic cm9vdDpyb290",
            good["authorization"].replace("SignedHeaders", "Signed"),
            good["authorization"].replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            good["authorization"] + ", " + good["authorization"],
            good["authorization"].replace("Signature=", "Signature=\x80"),
        ):
            with self.subTest(text[:60]):
                answer = ask(request("GET", self.path, headers=dict(good, authorization=text)))
                self.assertIn(answer.status, (400, 403, 501), answer)
                self.assertTrue(answer.code(), answer)
        for missing in ("x-amz-date", "x-amz-content-sha256"):
            headers = {k: v for k, v in good.items() if k != missing}
            answer = ask(request("GET", self.path, headers=headers))
            self.assertIn(answer.status, (400, 403), f"{missing}: {answer}")

    def test_signature_in_two_places(self):
        req = request("GET", self.path).presign(ROOT)
        signed_too = request("GET", self.path).sign(ROOT)
        req.headers |= {k: v for k, v in signed_too.headers.items() if k != "host"}
        self.assertIn(ask(req).status, (400, 403))

    def test_credential_from_one_place_and_signature_from_another(self):
        # A hole of another store: credentials from the query, the signature from the header.
        for mode in (UNSIGNED_TRAILER, STREAMING, UNSIGNED):
            req = request("PUT", f"/{self.bucket}/mixed", body=b"x")
            req.query.append(("X-Amz-Credential", f"{ROOT.key_id}/20260101/us-east-1/s3/aws4_request"))
            req.headers |= {"x-amz-content-sha256": mode, "x-amz-decoded-content-length": "1"}
            req.headers |= {"authorization": "AWS4-HMAC-SHA256 Signature=0000", "x-amz-date": "20260101T000000Z"}
            self.assertIn(ask(req).status, (400, 403), mode)
        self.assertNotIn("mixed", self.keys())

    def test_streaming_modes_need_a_right_seed_signature(self):
        for mode in (UNSIGNED_TRAILER, STREAMING):
            for method, path, query in (
                ("PUT", "stream", []),
                ("PUT", "stream", [("partNumber", "1"), ("uploadId", "x")]),
                ("POST", "", [("delete", "")]),
            ):
                req = request(method, f"/{self.bucket}/{path}", query)
                trailer = ("x-amz-checksum-crc32", "AAAAAA==") if mode == UNSIGNED_TRAILER else None
                req.chunked(Identity(ROOT.key_id, "wrong"), b"x", mode, trailer=trailer)
                self.assert_refused_raw(ask(req), 403, "SignatureDoesNotMatch")
        self.assertNotIn("stream", self.keys())

    def test_odd_queries_are_signed_as_they_are(self):
        for name, value in (("prefix", "a b+c&d=e/é%20"), ("prefix", ""), ("x-unknown", "~*'()"), ("prefix", "ü")):
            answer = signed("GET", f"/{self.bucket}", [("list-type", "2"), (name, value)])
            self.assertEqual(answer.status, 200, f"{name}={value}: {answer}")

    def test_header_values_with_odd_blanks(self):
        headers = {"x-amz-meta-blank": "  a   b  "}
        answer = signed("PUT", f"/{self.bucket}/blanks", headers=headers, body=b"x")
        self.assertEqual(answer.status, 200, answer)
        self.s3.delete_object(Bucket=self.bucket, Key="blanks")


class Presigned(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"body")
        cls.s3.put_object(Bucket=cls.bucket, Key="private", Body=b"private")
        cls.path = f"/{cls.bucket}/k"

    def test_boto3_urls(self):
        at = {"Bucket": self.bucket, "Key": "pre signed/é"}
        url = self.s3.generate_presigned_url("put_object", Params=at)
        put = urllib.request.Request(url, data=b"by url", method="PUT")
        with urllib.request.urlopen(put) as answer:
            self.assertEqual(answer.status, 200)
        with urllib.request.urlopen(self.s3.generate_presigned_url("get_object", Params=at)) as answer:
            self.assertEqual(answer.read(), b"by url")
        delete = self.s3.generate_presigned_url("delete_object", Params=at)
        with urllib.request.urlopen(urllib.request.Request(delete, method="DELETE")) as answer:
            self.assertEqual(answer.status, 204)

    def test_overrides_in_the_url(self):
        query = [("response-content-type", "text/x"), ("response-content-disposition", 'attachment; filename="a b"')]
        answer = ask(request("GET", self.path, query).presign(ROOT))
        self.assertEqual(answer.headers["content-type"], "text/x")
        self.assertEqual(answer.headers["content-disposition"], 'attachment; filename="a b"')

    def test_unsigned_ordinary_headers_are_no_harm(self):
        req = request("GET", self.path).presign(ROOT)
        req.headers |= {"user-agent": "x", "range": "bytes=0-1"}
        self.assertEqual(ask(req).body, b"bo")

    def test_expiry(self):
        for skew, expires in ((-100, 50), (-DAY, DAY - 60), (-8 * DAY, 7 * DAY)):
            answer = ask(request("GET", self.path).presign(ROOT, expires, skew))
            self.assert_refused_raw(answer, 403, "AccessDenied")
        self.assertEqual(ask(request("GET", self.path).presign(ROOT, 100, -50)).status, 200)
        self.assertEqual(ask(request("GET", self.path).presign(ROOT, 7 * DAY, -6 * DAY)).status, 200)
        answer = ask(request("GET", self.path).presign(ROOT, 300, 3600))
        self.assertIn(answer.status, (400, 403), answer)

    def test_impossible_expiry(self):
        for expires in (0, -1, 7 * DAY + 1, "x", 10**30):
            answer = ask(request("GET", self.path).presign(ROOT, expires))
            self.assertIn(answer.status, (400, 403), f"{expires}: {answer}")

    def test_wrong_secret_and_unknown_key(self):
        answer = ask(request("GET", self.path).presign(Identity(ROOT.key_id, "wrong")))
        self.assert_refused_raw(answer, 403, "SignatureDoesNotMatch")
        answer = ask(request("GET", self.path).presign(Identity("NOBODYKNOWSME", "wrong")))
        self.assert_refused_raw(answer, 403, "InvalidAccessKeyId")

    def test_no_other_use_of_a_url(self):
        def key(req):
            req.path = f"/{self.bucket}/private"

        def method(req):
            req.method = "DELETE"

        def longer(req):
            req.query = [(n, "600000" if n == "X-Amz-Expires" else v) for n, v in req.query]

        def more(req):
            req.query.append(("response-content-type", "text/html"))

        def version(req):
            req.query.append(("versionId", "null"))

        def fewer(req):
            req.query = [(n, v) for n, v in req.query if n != "X-Amz-Expires"]

        def twice(req):
            req.query.append(("X-Amz-Expires", "1"))

        for spoil in (key, method, longer, more, version, fewer, twice):
            with self.subTest(spoil.__name__):
                req = request("GET", self.path).presign(ROOT)
                spoil(req)
                answer = ask(req)
                self.assertIn(answer.status, (400, 403), answer)
        self.assertEqual(self.read("k"), b"body")

    def test_unsigned_amz_headers_are_refused(self):
        # CVE-2026-54330 and its likes: a URL for putting one object copies any object of the signer.
        for name, value in (
            ("x-amz-copy-source", f"/{self.bucket}/private"),
            ("X-AMZ-Copy-Source", f"/{self.bucket}/private"),
            ("x-amz-metadata-directive", "REPLACE"),
            ("x-amz-meta-added", "x"),
            ("x-amz-acl", "public-read"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-website-redirect-location", "/x"),
        ):
            with self.subTest(name):
                req = request("PUT", f"/{self.bucket}/stolen", body=b"").presign(ROOT)
                req.headers[name] = value
                self.assert_refused_raw(ask(req), 403, "AccessDenied", "HeadersNotSigned")
        self.assertNotIn("stolen", self.keys())
        req = request("PUT", f"/{self.bucket}/fine", headers={"x-amz-meta-a": "1"}, body=b"x").presign(ROOT)
        self.assertEqual(ask(req).status, 200)
        self.assertEqual(self.get("fine")["Metadata"], {"a": "1"})

    def test_headers_in_the_query_count_only_when_signed(self):
        # Some signers move x-amz-* headers into the query. Signed there, they mean the same.
        req = request("PUT", f"/{self.bucket}/q", [("x-amz-meta-a", "1")], body=b"x").presign(ROOT)
        self.assertIn(ask(req).status, (200, 400, 501))
        for name, value in (("x-amz-copy-source", f"/{self.bucket}/private"), ("x-amz-meta-b", "2")):
            req = request("PUT", f"/{self.bucket}/stolen-by-query", body=b"").presign(ROOT)
            req.query.append((name, value))
            self.assert_refused_raw(ask(req), 403, "SignatureDoesNotMatch", "AccessDenied")
        self.assertEqual(self.keys(Prefix="stolen"), [])

    def test_a_url_of_another_account(self):
        answer = ask(request("GET", self.path).presign(OTHER))
        self.assert_refused_raw(answer, 403, "AccessDenied")


class Matrix(Case):
    """Every operation by everybody who must not: refused, and nothing changed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"body")
        up = {"Bucket": cls.bucket, "Key": "up"}
        cls.upload = cls.s3.create_multipart_upload(**up)["UploadId"]
        cls.etag = cls.s3.upload_part(**up, UploadId=cls.upload, PartNumber=1, Body=b"part")["ETag"]

    def operations(self):
        at, up = f"/{self.bucket}", [("uploadId", self.upload)]
        delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
        parts = f"<Part><PartNumber>1</PartNumber><ETag>{self.etag}</ETag></Part>"
        complete = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        copy = {"x-amz-copy-source": f"{at}/k"}
        return {
            "HeadBucket": ("HEAD", at, [], {}, b""),
            "GetBucketLocation": ("GET", at, [("location", "")], {}, b""),
            "ListObjects": ("GET", at, [], {}, b""),
            "ListObjectsV2": ("GET", at, [("list-type", "2")], {}, b""),
            "ListMultipartUploads": ("GET", at, [("uploads", "")], {}, b""),
            "DeleteBucket": ("DELETE", at, [], {}, b""),
            "DeleteObjects": ("POST", at, [("delete", "")], {"content-md5": self.md5(delete)}, delete),
            "GetObject": ("GET", at + "/k", [], {}, b""),
            "HeadObject": ("HEAD", at + "/k", [], {}, b""),
            "PutObject": ("PUT", at + "/k", [], {}, b"changed"),
            "DeleteObject": ("DELETE", at + "/k", [], {}, b""),
            "CopyObject": ("PUT", at + "/copied", [], copy, b""),
            "CreateMultipartUpload": ("POST", at + "/k", [("uploads", "")], {}, b""),
            "UploadPart": ("PUT", at + "/up", [("partNumber", "1")] + up, {}, b"changed"),
            "UploadPartCopy": ("PUT", at + "/up", [("partNumber", "1")] + up, copy, b""),
            "ListParts": ("GET", at + "/up", up, {}, b""),
            "CompleteMultipartUpload": ("POST", at + "/up", up, {}, complete),
            "AbortMultipartUpload": ("DELETE", at + "/up", up, {}, b""),
        }

    @staticmethod
    def md5(body):
        import base64

        return base64.b64encode(hashlib.md5(body).digest()).decode()

    def test_everybody_else_is_refused(self):
        wrong = Identity(ROOT.key_id, "wrong")
        ways = {
            "anonymous": lambda req: req,
            "wrong secret": lambda req: req.sign(wrong),
            "wrong secret, unsigned body": lambda req: req.sign(wrong, UNSIGNED),
            "unknown key": lambda req: req.sign(Identity("NOBODYKNOWSME", "x")),
            "other account": lambda req: req.sign(OTHER),
            "old": lambda req: req.sign(ROOT, skew_s=-3600),
            "url of another account": lambda req: req.presign(OTHER),
            "expired url": lambda req: req.presign(ROOT, 10, -3600),
            "url with a wrong secret": lambda req: req.presign(wrong),
        }
        for name, (method, path, query, headers, body) in self.operations().items():
            for way, authenticate in ways.items():
                with self.subTest(name, way=way):
                    answer = ask(authenticate(request(method, path, query, headers, body)))
                    self.assertEqual(answer.status, 403, answer)
                    if method != "HEAD":
                        self.assert_refused_raw(answer, 403)
        self.assertEqual(self.read("k"), b"body")
        self.assertEqual(self.keys(), ["k"])
        uploads = self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]
        self.assertEqual([(u["Key"], u["UploadId"]) for u in uploads], [("up", self.upload)])
        parts = self.s3.list_parts(Bucket=self.bucket, Key="up", UploadId=self.upload)["Parts"]
        self.assertEqual([p["ETag"] for p in parts], [self.etag])

    def test_the_account_itself_has_no_anonymous_door(self):
        self.assert_refused_raw(ask(request("GET", "/")), 403, "AccessDenied")
        self.assert_refused_raw(ask(request("PUT", "/" + unique())), 403, "AccessDenied")

    def test_refusals_do_not_tell_what_exists(self):
        there = ask(request("GET", f"/{self.bucket}/k"))
        missing = ask(request("GET", f"/{unique()}/k"))
        self.assertEqual((there.status, there.code()), (missing.status, missing.code()))


class VirtualHosts(Case):
    """The bucket in the host name; the server's own name is localhost."""

    def ask_at(self, method, path, query=(), body=b"", bucket=None, **more):
        port = HOST.rsplit(":", 1)[1]
        req = request(method, path, query, body=body, **more)
        req.host = f"{bucket or self.bucket}.localhost:{port}"
        return ask(req.sign(ROOT))

    def test_objects_and_listings(self):
        for key in ("k", "a/b", "..", f"{self.bucket}/k"):
            answer = self.ask_at("PUT", "/" + key, body=key.encode())
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(self.ask_at("GET", "/" + key).body, key.encode())
            self.assertEqual(self.read(key), key.encode())
        answer = self.ask_at("GET", "/", [("list-type", "2")])
        self.assertEqual(answer.status, 200)
        self.assertIn(b"<Key>a/b</Key>", answer.body)

    def test_boto3(self):
        import boto3
        from botocore.config import Config

        port = HOST.rsplit(":", 1)[1]
        s3 = boto3.client(
            "s3",
            endpoint_url=f"http://localhost:{port}",
            region_name="us-east-1",
            aws_access_key_id=ROOT.key_id,
            aws_secret_access_key=ROOT.secret,
            config=Config(s3={"addressing_style": "path"}),
        )
        s3.put_object(Bucket=self.bucket, Key="by-name", Body=b"x")
        self.assertEqual(self.read("by-name"), b"x")

    def test_a_bucket_that_is_not_there(self):
        self.assert_refused_raw(self.ask_at("GET", "/k", bucket=unique()), 404, "NoSuchBucket")

    def test_the_host_decides_not_the_path(self):
        other = unique()
        boto(OTHER).create_bucket(Bucket=other)
        boto(OTHER).put_object(Bucket=other, Key="k", Body=b"theirs")
        answer = self.ask_at("GET", f"/{self.bucket}/k", bucket=other)
        self.assert_refused_raw(answer, 403, "AccessDenied")


if __name__ == "__main__":
    main()
