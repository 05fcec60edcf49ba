"""boto3 on multipart uploads."""

import base64
import hashlib
import threading

from common import KIB, MIB, PART_MIN, Case, boto, data, main, md5, signed


class Uploads(Case):
    def begin(self, key="mp", **more):
        answer = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, **more)
        self.assertEqual((answer["Bucket"], answer["Key"]), (self.bucket, key))
        return {"Bucket": self.bucket, "Key": key, "UploadId": answer["UploadId"]}

    def part(self, up, number, body, **more):
        return self.s3.upload_part(**up, PartNumber=number, Body=body, **more)["ETag"]

    def complete(self, up, parts, **more):
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return self.s3.complete_multipart_upload(**up, MultipartUpload={"Parts": listed}, **more)

    def whole(self, key, bodies, numbers=None, **more):
        """Uploads `bodies` as parts and completes; the answer."""
        up = self.begin(key, **more)
        numbers = numbers or range(1, len(bodies) + 1)
        parts = [(n, self.part(up, n, b)) for n, b in zip(numbers, bodies)]
        return self.complete(up, parts)

    def test_bytes_etag_and_size(self):
        bodies = [data(PART_MIN + n, n) for n in range(2)] + [data(7, 9)]
        answer = self.whole("mp", bodies)
        digest = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies)).hexdigest()
        self.assertEqual(answer["ETag"], f'"{digest}-3"')
        self.assertTrue(answer["Location"].endswith(f"{self.bucket}/mp"))
        self.assertEqual((answer["Bucket"], answer["Key"]), (self.bucket, "mp"))
        whole = b"".join(bodies)
        got = self.get("mp")
        self.same(got["Body"].read(), whole)
        self.assertEqual((got["ContentLength"], got["ETag"]), (len(whole), answer["ETag"]))
        entry = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="mp")["Contents"][0]
        self.assertEqual((entry["Size"], entry["ETag"]), (len(whole), answer["ETag"]))
        for first, last in ((0, 0), (PART_MIN - 1, PART_MIN), (PART_MIN, 2 * PART_MIN + 3), (len(whole) - 8, 10**9)):
            got = self.get("mp", Range=f"bytes={first}-{last}")
            last = min(last, len(whole) - 1)
            self.same(got["Body"].read(), whole[first : last + 1], f"{first}-{last}")
            self.assertEqual(got["ContentRange"], f"bytes {first}-{last}/{len(whole)}")
        self.same(self.read("mp", Range="bytes=-9"), whole[-9:])

    def test_headers_come_from_the_beginning(self):
        more = {"ContentType": "text/x", "Metadata": {"a": "b"}, "CacheControl": "c", "ContentEncoding": "gzip"}
        self.whole("headers", [b"small"], **more)
        got = self.get("headers")
        self.assertEqual({k: got[k] for k in more}, more)

    def test_parts_out_of_order_sparse_and_replaced(self):
        up = self.begin("sparse")
        last = self.part(up, 10_000, b"the end")
        self.part(up, 7, data(PART_MIN, 1))
        first = self.part(up, 3, data(PART_MIN, 3))
        middle = self.part(up, 7, data(PART_MIN + 5, 2))
        self.complete(up, [(3, first), (7, middle), (10_000, last)])
        self.same(self.read("sparse"), data(PART_MIN, 3) + data(PART_MIN + 5, 2) + b"the end")

    def test_a_replaced_part_has_another_etag(self):
        up = self.begin("replaced")
        old = self.part(up, 1, b"old")
        new = self.part(up, 1, b"new")
        with self.refused(400, "InvalidPart"):
            self.complete(up, [(1, old)])
        self.complete(up, [(1, new)])
        self.assertEqual(self.read("replaced"), b"new")

    def test_parts_left_out_are_left_out(self):
        up = self.begin("left-out")
        etags = {n: self.part(up, n, data(PART_MIN, n)) for n in (1, 2, 3)}
        self.complete(up, [(1, etags[1]), (3, etags[3])])
        self.same(self.read("left-out"), data(PART_MIN, 1) + data(PART_MIN, 3))
        self.assertEqual(self.get("left-out")["ETag"][-3:], '-2"')

    def test_an_empty_only_part(self):
        self.whole("empty", [b""])
        self.assertEqual(self.read("empty"), b"")

    def test_too_small(self):
        up = self.begin("small")
        parts = [(1, self.part(up, 1, data(PART_MIN - 1))), (2, self.part(up, 2, b"x"))]
        with self.refused(400, "EntityTooSmall"):
            self.complete(up, parts)
        self.assertEqual(self.keys(Prefix="small"), [])
        # The upload is still there: a client can put it right.
        parts[0] = (1, self.part(up, 1, data(PART_MIN)))
        self.complete(up, parts)

    def test_wrong_lists(self):
        up = self.begin("wrong")
        one, two = self.part(up, 1, data(PART_MIN)), self.part(up, 2, data(PART_MIN, 2))
        with self.refused(400, "InvalidPartOrder"):
            self.complete(up, [(2, two), (1, one)])
        with self.refused(400, "InvalidPartOrder", "InvalidPart"):
            self.complete(up, [(1, one), (1, one)])
        with self.refused(400, "InvalidPart"):
            self.complete(up, [(1, one), (3, two)])
        with self.refused(400, "InvalidPart"):
            self.complete(up, [(1, two)])
        with self.refused(400, "InvalidPart"):
            self.complete(up, [(1, '"' + "0" * 32 + '"')])
        with self.refused(400, "MalformedXML"):
            self.complete(up, [])
        with self.refused(400, "InvalidArgument", "InvalidPart", "MalformedXML"):
            self.complete(up, [(0, one)])
        self.assertEqual(self.keys(Prefix="wrong"), [])
        self.complete(up, [(1, one), (2, two)])

    def test_part_numbers(self):
        up = self.begin("numbers")
        for wrong in (0, -1, 10_001, 2**31):
            answer = signed("PUT", f"/{self.bucket}/numbers", self.of(up, partNumber=wrong), body=b"x")
            self.assert_refused_raw(answer, 400, "InvalidArgument")
        self.s3.abort_multipart_upload(**up)

    @staticmethod
    def of(up, **more):
        return [(name, str(value)) for name, value in more.items()] + [("uploadId", up["UploadId"])]

    def test_unknown_uploads(self):
        for upload in ("nonsense", "0" * 32, "f" * 32, "../../x", "é", "x" * 2000):
            up = {"Bucket": self.bucket, "Key": "k", "UploadId": upload}
            with self.subTest(upload):
                with self.refused(404, "NoSuchUpload"):
                    self.part(up, 1, b"x")
                with self.refused(404, "NoSuchUpload"):
                    self.s3.list_parts(**up)
                with self.refused(404, "NoSuchUpload"):
                    self.complete(up, [(1, '"' + "0" * 32 + '"')])
                with self.refused(404, "NoSuchUpload"):
                    self.s3.abort_multipart_upload(**up)

    def test_an_upload_belongs_to_its_key(self):
        up = self.begin("mine")
        etag = self.part(up, 1, b"x")
        wrong = dict(up, Key="yours")
        with self.refused(404, "NoSuchUpload"):
            self.part(wrong, 1, b"x")
        with self.refused(404, "NoSuchUpload"):
            self.complete(wrong, [(1, etag)])
        with self.refused(404, "NoSuchUpload"):
            self.s3.abort_multipart_upload(**wrong)
        self.complete(up, [(1, etag)])

    def test_abort(self):
        up = self.begin("aborted")
        etag = self.part(up, 1, data(PART_MIN))
        answer = self.s3.abort_multipart_upload(**up)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
        with self.refused(404, "NoSuchUpload"):
            self.complete(up, [(1, etag)])
        with self.refused(404, "NoSuchUpload"):
            self.part(up, 1, b"x")
        self.assertEqual(self.keys(Prefix="aborted"), [])

    def test_complete_again_is_the_same_success(self):
        # A reply may be lost: the client repeats, and must not be told that its object is not there.
        up = self.begin("again")
        etag = self.part(up, 1, b"x")
        first = self.complete(up, [(1, etag)])
        second = self.complete(up, [(1, etag)])
        self.assertEqual(first["ETag"], second["ETag"])
        self.assertEqual(self.read("again"), b"x")

    def test_a_completed_upload_takes_no_more_parts(self):
        up = self.begin("closed")
        etag = self.part(up, 1, b"x")
        self.complete(up, [(1, etag)])
        with self.refused(404, "NoSuchUpload"):
            self.part(up, 1, b"y")
        self.assertEqual(self.read("closed"), b"x")

    def test_conditions_on_complete(self):
        old = self.put("cond", b"old")["ETag"]
        up = self.begin("cond")
        etag = self.part(up, 1, b"new")
        with self.refused(412, "PreconditionFailed"):
            self.complete(up, [(1, etag)], IfNoneMatch="*")
        with self.refused(412, "PreconditionFailed"):
            self.complete(up, [(1, etag)], IfMatch='"' + "0" * 32 + '"')
        self.assertEqual(self.read("cond"), b"old")
        self.complete(up, [(1, etag)], IfMatch=old)
        self.assertEqual(self.read("cond"), b"new")
        up = self.begin("cond-absent")
        etag = self.part(up, 1, b"new")
        with self.refused(404, "NoSuchKey"):
            self.complete(up, [(1, etag)], IfMatch=old)
        self.complete(up, [(1, etag)], IfNoneMatch="*")

    def test_declared_size(self):
        up = self.begin("sized")
        etag = self.part(up, 1, b"12345")
        with self.refused(400, "InvalidRequest"):
            self.complete(up, [(1, etag)], MpuObjectSize=6)
        self.complete(up, [(1, etag)], MpuObjectSize=5)

    def test_bad_md5_of_a_part(self):
        up = self.begin("md5")
        wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        with self.refused(400, "BadDigest"):
            self.part(up, 1, b"x", ContentMD5=wrong)
        self.assertNotIn("Parts", self.s3.list_parts(**up))
        self.s3.abort_multipart_upload(**up)

    def test_list_parts(self):
        up = self.begin("parts")
        sizes = {1: PART_MIN, 2: PART_MIN + 1, 5: 10, 100: 0}
        etags = {n: self.part(up, n, data(size, n)) for n, size in sizes.items()}
        listed = self.s3.list_parts(**up)
        self.assertEqual({p["PartNumber"]: p["Size"] for p in listed["Parts"]}, sizes)
        self.assertEqual({p["PartNumber"]: p["ETag"] for p in listed["Parts"]}, etags)
        self.assertEqual((listed["Key"], listed["UploadId"], listed["IsTruncated"]), ("parts", up["UploadId"], False))
        self.assertEqual(listed["StorageClass"], "STANDARD")
        self.assertTrue(listed["Initiator"]["ID"] and listed["Owner"]["ID"])
        numbers, marker = [], 0
        while True:
            page = self.s3.list_parts(**up, MaxParts=1, PartNumberMarker=marker)
            numbers += [p["PartNumber"] for p in page.get("Parts", [])]
            if not page["IsTruncated"]:
                break
            marker = page["NextPartNumberMarker"]
        self.assertEqual(numbers, sorted(sizes))
        self.s3.abort_multipart_upload(**up)

    def test_list_uploads(self):
        started = [self.begin(key) for key in ("u/a", "u/a", "u/b/1", "u/b/2", "u/c")]
        expected = sorted((u["Key"], u["UploadId"]) for u in started)

        def listing(**more):
            page = self.s3.list_multipart_uploads(Bucket=self.bucket, **more)
            pairs = [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])]
            return page, pairs, [p["Prefix"] for p in page.get("CommonPrefixes", [])]

        page, pairs, _ = listing(Prefix="u/")
        self.assertEqual(sorted(pairs), expected)
        self.assertEqual([key for key, _ in pairs], [key for key, _ in expected])
        self.assertTrue(page["Uploads"][0]["Initiated"])
        _, pairs, prefixes = listing(Prefix="u/", Delimiter="/")
        self.assertEqual(([k for k, _ in pairs], prefixes), (["u/a", "u/a", "u/c"], ["u/b/"]))
        for size in (1, 2, 3):
            got, rolled, more = [], [], {}
            while True:
                page, pairs, prefixes = listing(Prefix="u/", MaxUploads=size, Delimiter="/", **more)
                self.assertLessEqual(len(pairs) + len(prefixes), size)
                got, rolled = got + pairs, rolled + prefixes
                if not page["IsTruncated"]:
                    break
                more = {"KeyMarker": page["NextKeyMarker"]}
                if page.get("NextUploadIdMarker"):
                    more["UploadIdMarker"] = page["NextUploadIdMarker"]
            self.assertEqual(sorted(got), [e for e in expected if not e[0].startswith("u/b/")])
            self.assertEqual(rolled, ["u/b/"])
        for up in started:
            self.s3.abort_multipart_upload(**up)
        self.assertEqual(listing(Prefix="u/")[1], [])

    def test_part_copy(self):
        source = data(12 * MIB, 4)
        self.put("source", source)
        self.put("tiny", b"tiny")
        up = self.begin("assembled")
        at = f"{self.bucket}/source"
        copied = self.s3.upload_part_copy(
            **up, PartNumber=1, CopySource=at, CopySourceRange=f"bytes=1-{PART_MIN}"
        )["CopyPartResult"]
        self.assertEqual(copied["ETag"], f'"{md5(source[1:PART_MIN + 1])}"')
        self.assertTrue(copied["LastModified"])
        whole = self.s3.upload_part_copy(**up, PartNumber=2, CopySource=at)["CopyPartResult"]
        tiny = self.s3.upload_part_copy(**up, PartNumber=3, CopySource=f"{self.bucket}/tiny")["CopyPartResult"]
        self.s3.delete_object(Bucket=self.bucket, Key="source")
        self.complete(up, [(1, copied["ETag"]), (2, whole["ETag"]), (3, tiny["ETag"])])
        self.same(self.read("assembled"), source[1 : PART_MIN + 1] + source + b"tiny")

    def test_part_copy_of_a_multipart_object(self):
        bodies = [data(PART_MIN, 1), data(PART_MIN + 3, 2), data(9, 3)]
        self.whole("first", bodies)
        up = self.begin("second")
        copy = {"CopySource": f"{self.bucket}/first", "CopySourceRange": f"bytes=10-{2 * PART_MIN + 9}"}
        one = self.s3.upload_part_copy(**up, PartNumber=1, **copy)["CopyPartResult"]["ETag"]
        self.complete(up, [(1, one)])
        self.same(self.read("second"), b"".join(bodies)[10 : 2 * PART_MIN + 10])

    def test_part_copy_refusals(self):
        etag = self.put("src", data(1000))["ETag"]
        up = self.begin("refusals")

        def copy(**more):
            more.setdefault("CopySource", f"{self.bucket}/src")
            return self.s3.upload_part_copy(**up, PartNumber=1, **more)

        for wrong in ("bytes=0-1000", "bytes=500-5000", "bytes=1000-1001"):
            with self.subTest(wrong), self.refused(400, "InvalidArgument", "InvalidRange"):
                copy(CopySourceRange=wrong)
        for wrong in ("bytes=5-1", "bytes=-5", "bytes=5-", "0-5", "bytes=a-b"):
            with self.subTest(wrong), self.refused(400, "InvalidArgument"):
                copy(CopySourceRange=wrong)
        with self.refused(404, "NoSuchKey"):
            copy(CopySource=f"{self.bucket}/none")
        with self.refused(412, "PreconditionFailed"):
            copy(CopySourceIfMatch='"' + "0" * 32 + '"')
        with self.refused(412, "PreconditionFailed"):
            copy(CopySourceIfNoneMatch=etag)
        copy(CopySourceIfMatch=etag, CopySourceRange="bytes=0-999")
        self.s3.abort_multipart_upload(**up)

    def test_reading_by_part_number(self):
        bodies = [data(PART_MIN, 1), data(PART_MIN + 77, 2), data(5, 3)]
        answer = self.whole("numbered", bodies)
        total, first = sum(map(len, bodies)), 0
        for number, body in enumerate(bodies, 1):
            got = self.get("numbered", PartNumber=number)
            self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
            self.same(got["Body"].read(), body)
            self.assertEqual(got["ContentRange"], f"bytes {first}-{first + len(body) - 1}/{total}")
            self.assertEqual((got["PartsCount"], got["ETag"]), (3, answer["ETag"]))
            head = self.s3.head_object(Bucket=self.bucket, Key="numbered", PartNumber=number)
            self.assertEqual((head["ContentLength"], head["PartsCount"]), (len(body), 3))
            first += len(body)
        for wrong in (4, 10_000):
            with self.refused(416, "InvalidPartNumber", "InvalidRange"):
                self.get("numbered", PartNumber=wrong)
        for wrong in ("0", "10001", "x"):
            answer = signed("GET", f"/{self.bucket}/numbered", [("partNumber", wrong)])
            self.assert_refused_raw(answer, 400, "InvalidArgument")

    def test_sparse_numbers_can_be_read_one_way_or_the_other(self):
        # AWS does not say whether the parts are counted or keep their numbers; either way each part is there once.
        bodies = [data(PART_MIN, 1), data(PART_MIN, 2), data(5, 3)]
        self.whole("sparse-numbers", bodies, numbers=[2, 5, 9])
        got = []
        for number in range(1, 11):
            try:
                got.append(self.get("sparse-numbers", PartNumber=number)["Body"].read())
            except self.s3.exceptions.ClientError as error:
                self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 416)
        self.same(b"".join(got), b"".join(bodies))

    def test_part_number_of_an_ordinary_object(self):
        self.put("ordinary", b"12345")
        got = self.get("ordinary", PartNumber=1)
        self.assertEqual(got["Body"].read(), b"12345")
        self.assertIn(got["ResponseMetadata"]["HTTPStatusCode"], (200, 206))
        self.assertNotIn("PartsCount", got)
        with self.refused(416, "InvalidPartNumber", "InvalidRange"):
            self.get("ordinary", PartNumber=2)

    def test_many_parts(self):
        # More than a page of parts; the sizes are only limited when parts are completed.
        up = self.begin("many")
        for number in range(1, 1006):
            self.part(up, number, b"%d" % number)
        first = self.s3.list_parts(**up)
        self.assertEqual((len(first["Parts"]), first["IsTruncated"]), (1000, True))
        rest = self.s3.list_parts(**up, PartNumberMarker=first["NextPartNumberMarker"])
        self.assertEqual([p["PartNumber"] for p in rest["Parts"]], list(range(1001, 1006)))
        self.s3.abort_multipart_upload(**up)

    def test_a_hundred_real_parts(self):
        bodies = [data(PART_MIN + n % 3, n % 4) for n in range(40)]
        self.whole("hundred", bodies)
        whole = b"".join(bodies)
        self.same(self.read("hundred"), whole)
        for first in range(0, len(whole), 13_000_001):
            last = min(first + 6 * MIB, len(whole) - 1)
            self.same(self.read("hundred", Range=f"bytes={first}-{last}"), whole[first : last + 1], f"{first}")

    def test_parts_at_the_same_time(self):
        up, etags = self.begin("parallel"), {}

        def upload(number):
            etags[number] = boto().upload_part(**up, PartNumber=number, Body=data(PART_MIN, number))["ETag"]

        threads = [threading.Thread(target=upload, args=(n,)) for n in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.complete(up, sorted(etags.items()))
        self.same(self.read("parallel"), b"".join(data(PART_MIN, n) for n in range(1, 7)))

    def test_complete_against_abort(self):
        for _ in range(4):
            up = self.begin("duel")
            etag = self.part(up, 1, data(100 * KIB))
            outcomes = []

            def attempt(call, name):
                try:
                    call()
                    outcomes.append(name)
                except self.s3.exceptions.ClientError as error:
                    code = error.response["Error"]["Code"]
                    if code not in ("NoSuchUpload", "OperationAborted", "ConditionalRequestConflict"):
                        outcomes.append(code)

            abort = lambda: boto().abort_multipart_upload(**up)
            calls = [(lambda: self.complete(up, [(1, etag)]), "completed"), (abort, "aborted")]
            threads = [threading.Thread(target=attempt, args=call) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(len(outcomes), 1, outcomes)
            self.assertEqual(bool(self.keys(Prefix="duel")), outcomes == ["completed"])
            if outcomes == ["completed"]:
                self.same(self.read("duel"), data(100 * KIB))
                self.s3.delete_object(Bucket=self.bucket, Key="duel")


if __name__ == "__main__":
    main()
