"""Refusals: their form, and that what is not built says so."""

import base64
import hashlib
import xml.etree.ElementTree as xml

from common import HOST, MIB, ROOT, Case, ask, main, request, signed, unique
from sigv4 import Wire


class Form(Case):
    def test_an_error_is_what_aws_says(self):
        answer = signed("GET", f"/{self.bucket}/not/there")
        self.assert_refused_raw(answer, 404, "NoSuchKey")
        root = xml.fromstring(answer.body)
        self.assertEqual(root.tag, "Error")
        self.assertTrue(root.findtext("Message"))
        self.assertEqual(root.findtext("RequestId"), answer.headers["x-amz-request-id"])
        self.assertEqual(answer.headers["content-type"], "application/xml")

    def test_request_ids_differ(self):
        ids = {signed("GET", f"/{self.bucket}/x").headers["x-amz-request-id"] for _ in range(50)}
        self.assertEqual(len(ids), 50)

    def test_head_has_no_body(self):
        answer = signed("HEAD", f"/{self.bucket}/not-there")
        self.assertEqual((answer.status, answer.body), (404, b""))
        self.assertTrue(answer.headers["x-amz-request-id"])

    def test_text_in_errors_is_escaped(self):
        for key in ("<script>", "&amp;", "]]>", "é", "\"'"):
            answer = signed("GET", f"/{self.bucket}/{key}")
            self.assertEqual(answer.status, 404)
            xml.fromstring(answer.body)

    def test_a_connection_survives_refusals(self):
        with Wire(HOST) as wire:
            for _ in range(3):
                self.assertEqual(wire.ask(request("GET", f"/{self.bucket}/x").sign(ROOT)).status, 404)
                self.assertEqual(wire.ask(request("GET", f"/{self.bucket}").sign(ROOT)).status, 200)
                self.assertEqual(wire.ask(request("GET", f"/{self.bucket}/x")).status, 403)


class NotBuilt(Case):
    BUCKET = [
        "accelerate acl analytics cors encryption intelligent-tiering inventory lifecycle logging metrics",
        "notification object-lock ownershipControls policy policyStatus publicAccessBlock replication",
        "requestPayment tagging versioning versions website metadataTable session",
    ]
    OBJECT = "acl attributes legal-hold retention tagging torrent".split()

    def test_every_operation_that_is_not_built(self):
        self.put("k", b"body")
        cases = []
        for name in " ".join(self.BUCKET).split():
            cases += [(method, "", name) for method in ("GET", "PUT", "DELETE")]
        for name in self.OBJECT:
            cases += [(method, "/k", name) for method in ("GET", "PUT", "DELETE")]
        cases += [("POST", "/k", name) for name in ("restore", "select")]
        # There is no such operation in S3 at all.
        nonsense = {("DELETE", n) for n in "acl accelerate logging notification versioning versions session".split()}
        nonsense |= {("DELETE", n) for n in "requestPayment policyStatus attributes torrent object-lock".split()}
        nonsense |= {("DELETE", n) for n in ("legal-hold", "retention")}
        nonsense |= {("PUT", n) for n in "versions policyStatus attributes torrent session".split()}
        for method, path, name in cases:
            query = [(name, "")] + ([("select-type", "2")] if name == "select" else [])
            with self.subTest(f"{method} {path}?{name}"):
                answer = signed(method, f"/{self.bucket}{path}", query, body=b"<x/>" if method != "GET" else b"")
                if (method, path, name) == ("GET", "", "versioning") and answer.status == 200:
                    self.assertNotIn(b"<Status>", answer.body)  # there is none: the truth
                    continue
                if (method, name) in nonsense:
                    self.assertGreaterEqual(answer.status, 400, answer)
                else:
                    self.assert_refused_raw(answer, 501, "NotImplemented")
        # None of it was taken for the operation without the parameter.
        self.assertEqual(self.read("k"), b"body")
        self.assertEqual(self.keys(), ["k"])
        self.s3.head_bucket(Bucket=self.bucket)

    def test_boto3_knows_the_code(self):
        with self.refused(501, "NotImplemented"):
            self.s3.get_bucket_policy(Bucket=self.bucket)
        with self.refused(501, "NotImplemented"):
            self.s3.list_object_versions(Bucket=self.bucket)

    def test_forms(self):
        form = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x--\r\n'
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = ask(request("POST", f"/{self.bucket}", headers=headers, body=form))
        self.assertIn(answer.status, (400, 403, 501), answer)
        self.assertNotIn("k", self.keys(Prefix="zz"))

    def test_methods_that_s3_does_not_have(self):
        for method in ("PATCH", "TRACE", "BREW"):
            answer = signed(method, f"/{self.bucket}/k")
            self.assertIn(answer.status, (400, 403, 404, 405, 501), answer)

    def test_preflight(self):
        headers = {"origin": "https://example.org", "access-control-request-method": "GET"}
        answer = ask(request("OPTIONS", f"/{self.bucket}/k", headers=headers))
        self.assertGreaterEqual(answer.status, 400)
        self.assertNotIn("access-control-allow-origin", answer.headers)


class BadBodies(Case):
    def post(self, path, query, body):
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        return signed("POST", f"/{self.bucket}{path}", query, {"content-md5": digest}, body)

    BAD = [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Other/>",
        b"<Delete/>",
        b"<Delete><Object/></Delete>",
        b"\xff\xfe\x00",
        b"<Delete><Object><Key>k</Key></Object>" + b"x" * 1000,
        b"<a>" * 10_000,
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<Delete><Object><Key>&b;</Key></Object></Delete>",
    ]

    def test_delete_objects(self):
        self.put("k", b"kept")
        for body in self.BAD:
            with self.subTest(body[:40]):
                answer = self.post("", [("delete", "")], body)
                self.assertEqual(answer.status, 400, answer)
                self.assertNotIn(b"root:", answer.body)
        self.assertEqual(self.read("k"), b"kept")

    def test_complete(self):
        up = {"Bucket": self.bucket, "Key": "up"}
        up["UploadId"] = self.s3.create_multipart_upload(**up)["UploadId"]
        part = b"<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>"
        bad = self.BAD + [part % values for values in ((b"x", b"y"), (b"-1", b"y"), (b"99999999999", b"y"), (b"", b""))]
        for body in bad:
            with self.subTest(body[:40]):
                if body.startswith(b"<Part>"):
                    body = b"<CompleteMultipartUpload>" + body + b"</CompleteMultipartUpload>"
                answer = self.post("/up", [("uploadId", up["UploadId"])], body)
                self.assertEqual(answer.status, 400, answer)
        self.s3.abort_multipart_upload(**up)

    def test_create_bucket(self):
        name = unique()
        for body in (b"not xml", b"<CreateBucketConfiguration>", b"\xff"):
            self.assert_refused_raw(signed("PUT", f"/{name}", body=body), 400, "MalformedXML")
        self.assertEqual(signed("HEAD", f"/{name}").status, 404)

    def test_big_documents_are_refused_before_they_are_read(self):
        answer = self.post("", [("delete", "")], b"<Delete>" + b" " * (8 * MIB))
        self.assertIn(answer.status, (400, 413), answer)

    def test_delete_objects_needs_a_digest(self):
        body = b"<Delete><Object><Key>digest</Key></Object></Delete>"
        self.put("digest", b"x")
        wrong = {"content-md5": base64.b64encode(hashlib.md5(b"else").digest()).decode()}
        answer = signed("POST", f"/{self.bucket}", [("delete", "")], wrong, body)
        self.assert_refused_raw(answer, 400, "BadDigest")
        self.assertEqual(self.read("digest"), b"x")


if __name__ == "__main__":
    main()
