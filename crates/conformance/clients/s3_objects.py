"""boto3 on objects: put, get, head, delete, ranges, conditions, headers and metadata."""

import datetime
import random
import threading

from common import KIB, MIB, Case, boto, data, main, md5, request, ask, signed, unique, ROOT

# Around every border there is: inline, frame, stripe of three, shard file.
SIZES = [0, 1, 2, 100, 4 * KIB, 8 * KIB - 1, 8 * KIB, 8 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1]
SIZES += [192 * KIB - 1, 192 * KIB, 192 * KIB + 1, 200_003, MIB, 3 * MIB - 1, 3 * MIB + 1, 7 * MIB + 11]
HOUR = datetime.timedelta(hours=1)


class PutGet(Case):
    def test_sizes_both_ways(self):
        for size in SIZES:
            with self.subTest(size):
                body = data(size)
                put = self.put(f"size-{size}", body)
                self.assertEqual(put["ETag"], f'"{md5(body)}"')
                got = self.get(f"size-{size}")
                self.same(got["Body"].read(), body)
                self.assertEqual((got["ContentLength"], got["ETag"]), (size, put["ETag"]))
                self.assertEqual(got["AcceptRanges"], "bytes")
                head = self.s3.head_object(Bucket=self.bucket, Key=f"size-{size}")
                self.assertEqual((head["ContentLength"], head["ETag"]), (size, put["ETag"]))
                self.assertEqual(head["LastModified"], got["LastModified"])
        listed = {e["Key"]: e["Size"] for e in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]}
        self.assertEqual({k: v for k, v in listed.items() if k.startswith("size-")}, {f"size-{n}": n for n in SIZES})

    def test_overwrite_in_every_direction(self):
        for a in (0, 100, 10 * KIB, 2 * MIB):
            for b in (0, 101, 11 * KIB, 2 * MIB + 1):
                self.put("over", data(a, 1), Metadata={"gen": "1"})
                self.put("over", data(b, 2))
                got = self.get("over")
                self.same(got["Body"].read(), data(b, 2), f"{a} -> {b}")
                self.assertEqual(got["Metadata"], {})

    def test_delete(self):
        for size in (10, 100 * KIB):
            self.put("gone", data(size))
            deleted = self.s3.delete_object(Bucket=self.bucket, Key="gone")
            self.assertEqual(deleted["ResponseMetadata"]["HTTPStatusCode"], 204)
            with self.refused(404, "NoSuchKey"):
                self.get("gone")
            with self.refused(404, "404"):
                self.s3.head_object(Bucket=self.bucket, Key="gone")
            again = self.s3.delete_object(Bucket=self.bucket, Key="gone")
            self.assertEqual(again["ResponseMetadata"]["HTTPStatusCode"], 204)
            self.assertNotIn("gone", self.keys())

    def test_delete_of_a_version_that_is_not_there_deletes_nothing(self):
        self.put("versioned", b"x")
        answer = signed("DELETE", f"/{self.bucket}/versioned", [("versionId", "bogus")])
        self.assertNotIn(answer.status, (200, 204), answer)
        answer = signed("GET", f"/{self.bucket}/versioned", [("versionId", "bogus")])
        self.assertGreaterEqual(answer.status, 400)
        self.assertEqual(self.read("versioned"), b"x")

    def test_conditional_delete_is_not_an_unconditional_one(self):
        self.put("guarded", b"x")
        answer = signed("DELETE", f"/{self.bucket}/guarded", headers={"if-match": '"0123"'})
        self.assertGreaterEqual(answer.status, 400, answer)
        self.assertEqual(self.read("guarded"), b"x")

    def test_delete_objects(self):
        keys = ["a", "a/b", "gone", "é & <x>", "..", "sp ace", "/lead", "🦀", "quote'\""]
        for key in keys:
            if key != "gone":
                self.put(key, b"x")
        self.put("stays", b"x")
        answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": k} for k in keys]})
        self.assertEqual(sorted(d["Key"] for d in answer["Deleted"]), sorted(keys))
        self.assertNotIn("Errors", answer)
        left = self.keys()
        self.assertFalse(set(left) & set(keys))
        self.assertIn("stays", left)
        quiet = {"Objects": [{"Key": "stays"}], "Quiet": True}
        answer = self.s3.delete_objects(Bucket=self.bucket, Delete=quiet)
        self.assertNotIn("Deleted", answer)
        self.assertNotIn("stays", self.keys())

    def test_delete_objects_limits(self):
        thousand = [{"Key": f"k{n}"} for n in range(1000)]
        answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": thousand})
        self.assertEqual(len(answer["Deleted"]), 1000)
        with self.refused(400, "MalformedXML"):
            self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": thousand + [{"Key": "more"}]})

    def test_delete_objects_with_an_impossible_key_still_answers_for_the_others(self):
        self.put("fine", b"x")
        objects = [{"Key": "fine"}, {"Key": "k" * 1025}]
        try:
            answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects})
        except self.s3.exceptions.ClientError as error:
            self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
            self.assertEqual(self.read("fine"), b"x")
        else:
            self.assertEqual([e["Key"] for e in answer["Errors"]], ["k" * 1025])
            self.assertEqual([d["Key"] for d in answer["Deleted"]], ["fine"])

    def test_many_writers_of_one_key_leave_one_whole_value(self):
        bodies = [data(200 * KIB + n, n) for n in range(8)] + [data(100 + n, n) for n in range(4)]
        clients = [boto(retries={"total_max_attempts": 5, "mode": "standard"}) for _ in bodies]
        threads = [
            threading.Thread(target=c.put_object, kwargs={"Bucket": self.bucket, "Key": "fought", "Body": b})
            for c, b in zip(clients, bodies)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        got = self.get("fought")
        body = got["Body"].read()
        self.assertIn(md5(body), [md5(b) for b in bodies])
        self.assertEqual(got["ETag"], f'"{md5(body)}"')
        self.assertEqual(self.keys(Prefix="fought"), ["fought"])

    def test_a_reader_sees_one_version_from_first_to_last_byte(self):
        bodies = [data(3 * MIB, n) for n in range(2)]
        self.put("moving", bodies[0])
        stop = threading.Event()

        def writer():
            client = boto()
            turn = 0
            while not stop.is_set():
                turn += 1
                client.put_object(Bucket=self.bucket, Key="moving", Body=bodies[turn % 2])

        thread = threading.Thread(target=writer)
        thread.start()
        try:
            for _ in range(12):
                self.assertIn(md5(self.read("moving")), [md5(b) for b in bodies])
        finally:
            stop.set()
            thread.join()


class Ranges(Case):
    def test_every_form(self):
        body = data(1000)
        self.put("r", body)
        for text, first, last in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-999", 0, 999),
            ("bytes=10-19", 10, 19),
            ("bytes=990-5000", 990, 999),
            ("bytes=999-", 999, 999),
            ("bytes=0-", 0, 999),
            ("bytes=-1", 999, 999),
            ("bytes=-1000", 0, 999),
            ("bytes=-5000", 0, 999),
        ]:
            with self.subTest(text):
                got = self.get("r", Range=text)
                self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
                self.assertEqual(got["ContentRange"], f"bytes {first}-{last}/1000")
                self.assertEqual(got["ContentLength"], last - first + 1)
                self.same(got["Body"].read(), body[first : last + 1])
                head = self.s3.head_object(Bucket=self.bucket, Key="r", Range=text)
                self.assertEqual(head["ContentLength"], last - first + 1)
                self.assertEqual(head["ResponseMetadata"]["HTTPStatusCode"], 206)

    def test_not_satisfiable(self):
        self.put("r", data(1000))
        for text in ("bytes=1000-", "bytes=1000-1001", "bytes=5000-6000", "bytes=-0"):
            with self.subTest(text):
                with self.refused(416, "InvalidRange"):
                    self.get("r", Range=text)
                answer = signed("GET", f"/{self.bucket}/r", headers={"range": text})
                self.assertEqual(answer.headers.get("content-range", "bytes */1000"), "bytes */1000")
                with self.refused(416, "416"):
                    self.s3.head_object(Bucket=self.bucket, Key="r", Range=text)

    def test_of_an_empty_object(self):
        self.put("empty", b"")
        for text in ("bytes=0-0", "bytes=0-"):
            with self.refused(416, "InvalidRange"):
                self.get("empty", Range=text)
        self.assertEqual(self.read("empty"), b"")

    def test_nonsense_is_ignored(self):
        # RFC 9110 §14.2, and so does AWS.
        body = data(1000)
        self.put("r", body)
        for text in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes", "bytes=-", "1-2"):
            with self.subTest(text):
                got = self.get("r", Range=text)
                self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 200)
                self.same(got["Body"].read(), body)

    def test_anywhere_in_objects_of_all_layouts(self):
        chance = random.Random(7)
        for size in (5000, 70_000, 192 * KIB, 1_000_003, 9 * MIB + 5):
            body = data(size)
            self.put("any", body)
            borders = [b for b in (64 * KIB, 192 * KIB, 384 * KIB, 3 * MIB) if b < size - 1]
            spots = [(b - 1, b) for b in borders] + [(b, b) for b in borders]
            spots += [sorted((chance.randrange(size), chance.randrange(size))) for _ in range(12)]
            for first, last in spots:
                got = self.read("any", Range=f"bytes={first}-{last}")
                self.same(got, body[first : last + 1], f"{first}-{last} of {size}")


class Conditions(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.etag = cls.s3.put_object(Bucket=cls.bucket, Key="c", Body=b"content")["ETag"]
        cls.at = cls.s3.head_object(Bucket=cls.bucket, Key="c")["LastModified"]

    def both(self, status, **conditions):
        for call in (self.s3.get_object, self.s3.head_object):
            with self.subTest(call.__name__, **{k: str(v) for k, v in conditions.items()}):
                if status == 200:
                    call(Bucket=self.bucket, Key="c", **conditions)
                    continue
                codes = {304: ("304",), 412: ("PreconditionFailed", "412")}[status]
                with self.refused(status, *codes):
                    call(Bucket=self.bucket, Key="c", **conditions)

    def test_on_reads(self):
        other, star = '"' + "0" * 32 + '"', "*"
        self.both(200, IfMatch=self.etag)
        self.both(200, IfMatch=star)
        self.both(200, IfMatch=self.etag.strip('"'))
        self.both(200, IfMatch=f"{other}, {self.etag}")
        self.both(412, IfMatch=other)
        self.both(304, IfNoneMatch=self.etag)
        self.both(304, IfNoneMatch=star)
        self.both(200, IfNoneMatch=other)
        self.both(304, IfModifiedSince=self.at)
        self.both(200, IfModifiedSince=self.at - HOUR)
        self.both(200, IfUnmodifiedSince=self.at)
        self.both(412, IfUnmodifiedSince=self.at - HOUR)

    def test_precedence_on_reads(self):
        other = '"' + "0" * 32 + '"'
        self.both(200, IfMatch=self.etag, IfUnmodifiedSince=self.at - HOUR)
        self.both(304, IfNoneMatch=self.etag, IfModifiedSince=self.at - HOUR)
        self.both(200, IfNoneMatch=other, IfModifiedSince=self.at)
        self.both(412, IfMatch=other, IfNoneMatch=other)

    def test_not_modified_has_the_etag_and_no_body(self):
        answer = signed("GET", f"/{self.bucket}/c", headers={"if-none-match": self.etag})
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.assertEqual(answer.headers.get("etag"), self.etag)

    def test_on_writes(self):
        with self.refused(412, "PreconditionFailed"):
            self.put("c", b"no", IfNoneMatch="*")
        with self.refused(412, "PreconditionFailed"):
            self.put("c", b"no", IfMatch='"' + "0" * 32 + '"')
        with self.refused(404, "NoSuchKey"):
            self.put("absent", b"no", IfMatch=self.etag)
        with self.refused(404, "NoSuchKey"):
            self.get("absent")
        self.assertEqual(self.read("c"), b"content")
        new = self.put("fresh", b"one", IfNoneMatch="*")["ETag"]
        newer = self.put("fresh", data(100 * KIB), IfMatch=new)["ETag"]
        with self.refused(412, "PreconditionFailed"):
            self.put("fresh", b"lost update", IfMatch=new)
        self.assertEqual(self.get("fresh")["ETag"], newer)
        self.s3.delete_object(Bucket=self.bucket, Key="fresh")
        self.put("fresh", b"again", IfNoneMatch="*")

    def test_one_creator_wins(self):
        for size in (20, 100 * KIB):
            won, barrier = [], threading.Barrier(8)

            def create(n):
                client = boto()
                barrier.wait()
                try:
                    client.put_object(Bucket=self.bucket, Key=f"race-{size}", Body=data(size, n), IfNoneMatch="*")
                    won.append(n)
                except client.exceptions.ClientError as error:
                    answer = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if answer not in (409, 412):
                        won.append(error)

            threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(len(won), 1, won)
            self.same(self.read(f"race-{size}"), data(size, won[0]))

    def test_counting_by_compare_and_swap_loses_nothing(self):
        self.put("counter", b"0")

        def add():
            client = boto()
            for _ in range(5):
                while True:
                    got = client.get_object(Bucket=self.bucket, Key="counter")
                    value = int(got["Body"].read()) + 1
                    at = {"Bucket": self.bucket, "Key": "counter"}
                    try:
                        client.put_object(**at, Body=str(value).encode(), IfMatch=got["ETag"])
                        break
                    except client.exceptions.ClientError as error:
                        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                            raise

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.read("counter"), b"20")


class Headers(Case):
    STORED = {
        "ContentType": "text/html; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentDisposition": 'attachment; filename="x.txt"',
        "ContentLanguage": "de-CH, en",
        "CacheControl": "max-age=60, must-revalidate",
    }

    def test_system_headers_are_kept(self):
        expires = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
        for size in (10, 100 * KIB):
            self.put("h", data(size), Expires=expires, **self.STORED)
            for got in (self.get("h"), self.s3.head_object(Bucket=self.bucket, Key="h")):
                self.assertEqual({k: got.get(k) for k in self.STORED}, self.STORED)
                self.assertEqual(got["ExpiresString"], "Mon, 03 Feb 2031 04:05:06 GMT")

    def test_default_content_type(self):
        answer = signed("PUT", f"/{self.bucket}/plain", body=b"x")
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.get("plain")["ContentType"], "binary/octet-stream")

    def test_user_metadata_is_kept(self):
        metadata = {"simple": "value", "with-dash": "a b  c", "number": "17", "empty": "", "upper": "MiXeD"}
        self.put("m", b"x", Metadata=metadata)
        self.assertEqual(self.get("m")["Metadata"], metadata)
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="m")["Metadata"], metadata)

    def test_metadata_names_are_lower_case(self):
        self.put("m", b"x", Metadata={"CamelCase": "Value"})
        self.assertEqual(self.get("m")["Metadata"], {"camelcase": "Value"})

    def test_metadata_limit_is_2048_bytes_of_names_and_values(self):
        self.put("m", b"x", Metadata={"n" * 48: "v" * 2000})
        with self.refused(400, "MetadataTooLarge"):
            self.put("m2", b"x", Metadata={"n" * 48: "v" * 2001})
        with self.refused(400, "MetadataTooLarge"):
            self.s3.create_multipart_upload(Bucket=self.bucket, Key="m2", Metadata={"n" * 48: "v" * 2001})
        self.assertNotIn("m2", self.keys())

    def test_response_overrides(self):
        self.put("o", b"x", ContentType="text/plain")
        overrides = {
            "ResponseContentType": "application/x-other",
            "ResponseContentDisposition": "inline",
            "ResponseContentEncoding": "identity",
            "ResponseContentLanguage": "fr",
            "ResponseCacheControl": "no-store",
        }
        got = self.get("o", **overrides)
        for name, value in overrides.items():
            self.assertEqual(got[name.removeprefix("Response")], value)
        expires = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
        self.assertIn("2030", self.get("o", ResponseExpires=expires)["ExpiresString"])
        self.assertEqual(self.get("o")["ContentType"], "text/plain")

    def test_every_answer_says_what_time_it_took(self):
        self.put("t", b"x")
        for method, path in (("GET", "/t"), ("HEAD", "/t"), ("GET", "/missing"), ("GET", "")):
            answer = signed(method, f"/{self.bucket}{path}")
            self.assertIn("server-timing", answer.headers, f"{method} {path} {answer}")
            self.assertIn("x-amz-request-id", answer.headers)
        answer = ask(request("GET", f"/{self.bucket}/t"))
        self.assertIn("x-amz-request-id", answer.headers)

    def test_what_is_not_built_is_never_a_wrong_success(self):
        for header, value in [
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "id=1"),
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-write-offset-bytes", "1"),
        ]:
            with self.subTest(header, value=value):
                answer = signed("PUT", f"/{self.bucket}/unbuilt", headers={header: value}, body=b"x")
                self.assertGreaterEqual(answer.status, 400, f"{header}: {value}: {answer}")
                with self.refused(404, "NoSuchKey"):
                    self.get("unbuilt")
        answer = signed("PUT", f"/{self.bucket}/s", headers={"x-amz-storage-class": "STANDARD"}, body=b"x")
        self.assertEqual(answer.status, 200, answer)


class Copies(Case):
    def copy(self, source, target, **more):
        return self.s3.copy_object(Bucket=self.bucket, Key=target, CopySource=f"{self.bucket}/{source}", **more)

    def test_of_all_sizes_with_all_headers(self):
        for size in (0, 10, 8 * KIB + 1, 200_003, 6 * MIB):
            body = data(size)
            put = self.put("from", body, ContentType="text/x", CacheControl="c", Metadata={"a": "b"})
            copied = self.copy("from", "to")
            self.assertEqual(copied["CopyObjectResult"]["ETag"], put["ETag"])
            self.assertTrue(copied["CopyObjectResult"]["LastModified"])
            got = self.get("to")
            self.same(got["Body"].read(), body)
            self.assertEqual((got["ContentType"], got["CacheControl"], got["Metadata"]), ("text/x", "c", {"a": "b"}))

    def test_a_copy_lives_on_without_its_source(self):
        for size in (10, 300 * KIB):
            body = data(size)
            self.put("from", body)
            self.copy("from", "to")
            self.copy("to", "third")
            self.s3.delete_object(Bucket=self.bucket, Key="from")
            self.put("to", b"overwritten")
            self.same(self.read("third"), body)

    def test_replaces_headers_when_told(self):
        self.put("from", b"x", ContentType="text/x", Metadata={"a": "b"}, CacheControl="c")
        self.copy("from", "to", MetadataDirective="REPLACE", Metadata={"new": "1"}, ContentType="text/y")
        got = self.get("to")
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"new": "1"}, "text/y"))
        self.assertNotIn("CacheControl", got)
        self.copy("from", "to2", Metadata={"ignored": "1"})
        self.assertEqual(self.get("to2")["Metadata"], {"a": "b"})

    def test_onto_itself(self):
        for size in (10, 300 * KIB):
            body = data(size)
            etag = self.put("self", body, Metadata={"a": "1"})["ETag"]
            with self.refused(400, "InvalidRequest"):
                self.copy("self", "self")
            self.copy("self", "self", MetadataDirective="REPLACE", Metadata={"a": "2"})
            got = self.get("self")
            self.same(got["Body"].read(), body)
            self.assertEqual((got["Metadata"], got["ETag"]), ({"a": "2"}, etag))

    def test_between_buckets_and_odd_keys(self):
        there = unique()
        self.s3.create_bucket(Bucket=there)
        for key in ("a b", "a+b", "a%20b", "é/🦀", "..", "/x", "a//b", "?x=y", "#h", "a&b=c", "%2F"):
            with self.subTest(key):
                body = data(500, len(key))
                self.put(key, body)
                source = {"Bucket": self.bucket, "Key": key}
                self.s3.copy_object(Bucket=there, Key=key, CopySource=source)
                self.assertEqual(self.s3.get_object(Bucket=there, Key=key)["Body"].read(), body)
        self.assertEqual(sorted(self.keys(Bucket=there)), sorted(set(self.keys(Bucket=there))))

    def test_source_with_leading_slash_and_encoding(self):
        self.put("sp ace/é", b"x")
        for source in (f"/{self.bucket}/sp%20ace/%C3%A9", f"{self.bucket}/sp%20ace/%C3%A9"):
            answer = signed("PUT", f"/{self.bucket}/to", headers={"x-amz-copy-source": source})
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(self.read("to"), b"x")

    def test_a_source_never_leaves_its_bucket(self):
        there = unique()
        self.s3.create_bucket(Bucket=there)
        self.s3.put_object(Bucket=there, Key="k", Body=b"secret")
        for source in (
            f"/{self.bucket}/../{there}/k",
            f"/{self.bucket}/%2e%2e/{there}/k",
            f"/{self.bucket}/x/../../{there}/k",
            f"{self.bucket}%2F..%2F{there}%2Fk",
            f"/{self.bucket}//{there}/k",
        ):
            with self.subTest(source):
                answer = signed("PUT", f"/{self.bucket}/stolen", headers={"x-amz-copy-source": source})
                self.assert_refused_raw(answer, 404, "NoSuchKey")
        for source in ("", "/", "nobucket", f"{self.bucket}", f"{self.bucket}/", "%zz/%zz", "a/b?versionId=%FF"):
            with self.subTest(source):
                answer = signed("PUT", f"/{self.bucket}/stolen", headers={"x-amz-copy-source": source})
                self.assertIn(answer.status, (400, 403, 404, 501), answer)
        self.assertNotIn("stolen", self.keys())

    def test_missing_source(self):
        with self.refused(404, "NoSuchKey"):
            self.copy("absent", "to")
        with self.refused(404, "NoSuchBucket"):
            self.s3.copy_object(Bucket=self.bucket, Key="to", CopySource=f"{unique()}/k")
        self.assertNotIn("to", self.keys(Prefix="to-none"))

    def test_conditions_on_the_source(self):
        etag = self.put("from", b"x")["ETag"]
        at = self.s3.head_object(Bucket=self.bucket, Key="from")["LastModified"]
        wrong = '"' + "0" * 32 + '"'
        self.copy("from", "to", CopySourceIfMatch=etag)
        self.copy("from", "to", CopySourceIfNoneMatch=wrong)
        self.copy("from", "to", CopySourceIfUnmodifiedSince=at)
        self.copy("from", "to", CopySourceIfModifiedSince=at - HOUR)
        for refused in (
            {"CopySourceIfMatch": wrong},
            {"CopySourceIfNoneMatch": etag},
            {"CopySourceIfUnmodifiedSince": at - HOUR},
            {"CopySourceIfModifiedSince": at},
        ):
            with self.subTest(str(refused)), self.refused(412, "PreconditionFailed"):
                self.copy("from", "to-never", **refused)
        self.assertNotIn("to-never", self.keys())

    def test_conditions_on_the_target(self):
        self.put("from", b"x")
        old = self.put("there", b"old")["ETag"]
        with self.refused(412, "PreconditionFailed"):
            self.copy("from", "there", IfNoneMatch="*")
        with self.refused(412, "PreconditionFailed"):
            self.copy("from", "there", IfMatch='"' + "0" * 32 + '"')
        with self.refused(404, "NoSuchKey"):
            self.copy("from", "not-there", IfMatch=old)
        self.assertEqual(self.read("there"), b"old")
        self.copy("from", "there", IfMatch=old)
        self.assertEqual(self.read("there"), b"x")

    def test_of_a_multipart_object(self):
        up = {"Bucket": self.bucket, "Key": "mp"}
        up["UploadId"] = self.s3.create_multipart_upload(**up)["UploadId"]
        bodies = [data(5 * MIB, 1), data(100, 2)]
        etags = [self.s3.upload_part(**up, PartNumber=n + 1, Body=b)["ETag"] for n, b in enumerate(bodies)]
        parts = {"Parts": [{"PartNumber": n + 1, "ETag": e} for n, e in enumerate(etags)]}
        self.s3.complete_multipart_upload(**up, MultipartUpload=parts)
        self.copy("mp", "mp-copy")
        self.s3.delete_object(Bucket=self.bucket, Key="mp")
        self.same(self.read("mp-copy"), b"".join(bodies))
        self.same(self.read("mp-copy", Range="bytes=5242870-5242889"), (bodies[0][-10:] + bodies[1][:10]))


if __name__ == "__main__":
    main()
