"""boto3 on listings: both versions, every parameter, and keys that other stores stumble over."""

import random

from common import MIB, Case, data, main, signed, unique

ODD = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a//b",
    "//",
    "/",
    "/lead",
    "..",
    "../up",
    "./here",
    ".",
    "a/../b",
    " ",
    " lead and trail ",
    "plus+plus",
    "per%cent",
    "%2F",
    "quest?ion=1&x",
    "ha#sh",
    "amp&lt;<tag>\"'",
    "é",
    "e\u0301",  # the same letter to a reader, another key
    "🦀🦀",
    "日本語",
    "back\\slash",
    "tab\tnew\nline\rreturn",
    "\x01\x02\x1f\x7f",
    "\ufffd",
    "\U0010ffff",
    "tilde~*()!",
    "k" * 1024,
    "é" * 512,
    "seg/" + "s" * 600,  # longer than a file name may be
    "UPPER",
    "upper",
]


def utf8(keys):
    """S3's order: by the bytes of the UTF-8 form."""
    return sorted(keys, key=lambda key: key.encode())


class OddKeys(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for key in ODD:
            cls.s3.put_object(Bucket=cls.bucket, Key=key, Body=key.encode(), Metadata={"n": str(ODD.index(key))})

    def test_each_is_a_key_of_its_own(self):
        for key in ODD:
            with self.subTest(key):
                got = self.get(key)
                self.assertEqual((got["Body"].read(), got["Metadata"]), (key.encode(), {"n": str(ODD.index(key))}))

    def test_listed_exactly_in_order(self):
        self.assertEqual(self.keys(), utf8(ODD))
        self.assertEqual(self.keys(PaginationConfig={"PageSize": 1}), utf8(ODD))
        pages = self.s3.get_paginator("list_objects").paginate(
            Bucket=self.bucket, PaginationConfig={"PageSize": 3}
        )
        self.assertEqual([e["Key"] for page in pages for e in page["Contents"]], utf8(ODD))

    def test_over_the_bare_wire(self):
        # No library between us and the path: dot segments and slashes must arrive as they are.
        for key in ("..", "../up", "./here", "a/../b", "//", "/", "/lead", "a//b", "."):
            with self.subTest(key):
                answer = signed("GET", f"/{self.bucket}/{key}")
                self.assertEqual((answer.status, answer.body), (200, key.encode()), answer)

    def test_too_long(self):
        for key in ("k" * 1025, "é" * 513):
            for call in (
                lambda: self.put(key, b"x"),
                lambda: self.get(key),
                lambda: self.s3.create_multipart_upload(Bucket=self.bucket, Key=key),
                lambda: self.s3.copy_object(Bucket=self.bucket, Key=key, CopySource=f"{self.bucket}/a"),
            ):
                with self.refused(400, "KeyTooLongError"):
                    call()

    def test_not_utf8(self):
        for path in ("%FF", "a%C3", "%ED%A0%80"):
            answer = signed("PUT", "", raw_path=f"/{self.bucket}/{path}", body=b"x")
            self.assertEqual(answer.status, 400, answer)
        self.assertEqual(self.keys(), utf8(ODD))

    def test_delete_one_leaves_its_neighbours(self):
        bucket = unique()
        self.s3.create_bucket(Bucket=bucket)
        for key in ODD:
            self.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        left = list(ODD)
        for key in ("a", "//", "..", "é", "a/"):
            self.s3.delete_object(Bucket=bucket, Key=key)
            left.remove(key)
            self.assertEqual(self.keys(Bucket=bucket), utf8(left))


class Listings(Case):
    KEYS = [f"{a}/{b}/{c}" for a in "xyz" for b in ("1", "2", "22") for c in ("p", "q")]
    KEYS += ["top", "x", "x.txt", "y0", "zz/", "zz/deep/er/still"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.KEYS = utf8(cls.KEYS)
        for key in cls.KEYS:
            cls.s3.put_object(Bucket=cls.bucket, Key=key, Body=key.encode())

    def expected(self, prefix="", delimiter="", after=""):
        """What a listing must be, written the slow and obvious way: (keys, common prefixes)."""
        keys, prefixes = [], []
        for key in self.KEYS:
            if not key.startswith(prefix):
                continue
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            if at < 0:
                if key > after:
                    keys.append(key)
            elif key[: at + len(delimiter)] not in prefixes and key[: at + len(delimiter)] > after:
                prefixes.append(key[: at + len(delimiter)])
        return keys, prefixes

    def page(self, **more):
        page = self.s3.list_objects_v2(Bucket=self.bucket, **more)
        keys = [e["Key"] for e in page.get("Contents", [])]
        return page, keys, [p["Prefix"] for p in page.get("CommonPrefixes", [])]

    def test_prefix_and_delimiter(self):
        for prefix in ("", "x", "x/", "x/2", "x/2/", "zz", "zz/", "none", "top", "topp"):
            for delimiter in ("", "/", "2", "/2", "eep/"):
                with self.subTest(prefix, delimiter=delimiter):
                    more = {"Delimiter": delimiter} if delimiter else {}
                    page, keys, prefixes = self.page(Prefix=prefix, **more)
                    self.assertEqual((keys, prefixes), self.expected(prefix, delimiter))
                    self.assertEqual(page["KeyCount"], len(keys) + len(prefixes))
                    self.assertFalse(page["IsTruncated"])
                    self.assertEqual((page["Prefix"], page["Name"]), (prefix, self.bucket))

    def test_pages_of_every_size_are_one_listing(self):
        for prefix, delimiter in (("", ""), ("", "/"), ("x", "/"), ("x/", "/"), ("z", "")):
            for size in (1, 2, 3, 7):
                with self.subTest(prefix, delimiter=delimiter, size=size):
                    all_keys, all_prefixes, token = [], [], None
                    while True:
                        more = {"ContinuationToken": token} if token else {}
                        more |= {"Delimiter": delimiter} if delimiter else {}
                        page, keys, prefixes = self.page(Prefix=prefix, MaxKeys=size, **more)
                        self.assertLessEqual(len(keys) + len(prefixes), size)
                        self.assertEqual(page["MaxKeys"], size)
                        all_keys += keys
                        all_prefixes += prefixes
                        token = page.get("NextContinuationToken")
                        self.assertEqual(page["IsTruncated"], bool(token))
                        if not token:
                            break
                        self.assertTrue(keys or prefixes, "a page that goes nowhere")
                    self.assertEqual((all_keys, all_prefixes), self.expected(prefix, delimiter))

    def test_v1_markers(self):
        for prefix, delimiter in (("", ""), ("", "/"), ("x", "/"), ("x/", "/")):
            for size in (1, 3):
                with self.subTest(prefix, delimiter=delimiter, size=size):
                    keys, prefixes, marker = [], [], ""
                    while True:
                        more = {"Delimiter": delimiter} if delimiter else {}
                        page = self.s3.list_objects(
                            Bucket=self.bucket, Prefix=prefix, MaxKeys=size, Marker=marker, **more
                        )
                        self.assertEqual(page["Marker"], marker)
                        now = [e["Key"] for e in page.get("Contents", [])]
                        rolled = [p["Prefix"] for p in page.get("CommonPrefixes", [])]
                        keys += now
                        prefixes += rolled
                        if not page["IsTruncated"]:
                            break
                        # NextMarker only comes with a delimiter (so says AWS).
                        marker = page["NextMarker"] if delimiter else page.get("NextMarker", now[-1] if now else "")
                    self.assertEqual((keys, prefixes), self.expected(prefix, delimiter))

    def test_start_after(self):
        # With a delimiter, the marker of a page may be a common prefix: what is not behind the start, keys and
        # common prefixes alike, is left out.
        for after in ("", "top", "x/1/p", "x/1/pp", "x/2", "x/", "zzz", "\U0010ffff"):
            for delimiter in ("", "/"):
                with self.subTest(after, delimiter=delimiter):
                    more = {"Delimiter": delimiter} if delimiter else {}
                    _, keys, prefixes = self.page(StartAfter=after, **more)
                    self.assertEqual((keys, prefixes), self.expected("", delimiter, after))

    def test_max_keys(self):
        page, keys, _ = self.page(MaxKeys=0)
        self.assertEqual((keys, page["KeyCount"], page["IsTruncated"]), ([], 0, False))
        page, keys, _ = self.page(MaxKeys=100_000)
        self.assertEqual(keys, self.KEYS)
        self.assertIn(page["MaxKeys"], (1000, 100_000))
        for wrong in ("-1", "x", "99999999999999999999"):
            for version in ([("list-type", "2")], []):
                answer = signed("GET", f"/{self.bucket}", version + [("max-keys", wrong)])
                self.assert_refused_raw(answer, 400, "InvalidArgument")

    def test_bad_parameters(self):
        answer = signed("GET", f"/{self.bucket}", [("list-type", "2"), ("continuation-token", "not one of ours")])
        self.assert_refused_raw(answer, 400, "InvalidArgument")
        answer = signed("GET", f"/{self.bucket}", [("list-type", "2"), ("encoding-type", "base64")])
        self.assert_refused_raw(answer, 400, "InvalidArgument")
        answer = signed("GET", f"/{self.bucket}", [("list-type", "3")])
        self.assertIn(answer.status, (400, 501), answer)

    def test_encoding_type(self):
        bucket = unique()
        self.s3.create_bucket(Bucket=bucket)
        for key in ("a b/c+d", "é/x", "\x01/y"):
            self.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        query = [("list-type", "2"), ("encoding-type", "url"), ("delimiter", "/")]
        text = signed("GET", f"/{bucket}", query).body.decode()
        self.assertIn("<EncodingType>url</EncodingType>", text)
        for encoded in ("%01/", "%C3%A9/"):
            self.assertIn(f"<Prefix>{encoded}</Prefix>", text.replace("%2F", "/"))
        self.assertTrue("a+b/" in text or "a%20b/" in text, text)
        answer = signed("GET", f"/{bucket}", [("list-type", "2"), ("prefix", "é")])
        self.assertIn("<Key>é/x</Key>", answer.body.decode())

    def test_owner_only_when_asked(self):
        page, _, _ = self.page()
        self.assertNotIn("Owner", page["Contents"][0])
        page, _, _ = self.page(FetchOwner=True)
        self.assertTrue(page["Contents"][0]["Owner"]["ID"])
        v1 = self.s3.list_objects(Bucket=self.bucket)
        self.assertEqual(v1["Contents"][0]["Owner"]["ID"], page["Contents"][0]["Owner"]["ID"])

    def test_what_an_entry_says(self):
        page, _, _ = self.page(Prefix="top")
        entry, head = page["Contents"][0], self.s3.head_object(Bucket=self.bucket, Key="top")
        self.assertEqual((entry["Size"], entry["ETag"]), (3, head["ETag"]))
        self.assertEqual(entry["StorageClass"], "STANDARD")
        self.assertEqual(entry["LastModified"].replace(microsecond=0), head["LastModified"])

    def test_an_empty_bucket(self):
        bucket = unique()
        self.s3.create_bucket(Bucket=bucket)
        page = self.s3.list_objects_v2(Bucket=bucket)
        self.assertEqual((page["KeyCount"], page["IsTruncated"], page.get("Contents")), (0, False, None))


class Changing(Case):
    def test_a_listing_goes_on_behind_deleted_keys(self):
        names = [f"k{n:03}" for n in range(50)]
        for name in names:
            self.put(name, b"x")
        page = self.s3.list_objects_v2(Bucket=self.bucket, MaxKeys=10)
        for name in names[5:15]:
            self.s3.delete_object(Bucket=self.bucket, Key=name)
        self.put("k009a", b"new")
        token = page["NextContinuationToken"]
        rest = self.s3.list_objects_v2(Bucket=self.bucket, ContinuationToken=token)
        self.assertEqual([e["Key"] for e in rest["Contents"]], ["k009a"] + names[15:])

    def test_more_than_a_page(self):
        bucket = unique()
        self.s3.create_bucket(Bucket=bucket)
        names = [f"{random.Random(n).randrange(10**6):06}/{n}" for n in range(1234)]
        for name in names:
            self.s3.put_object(Bucket=bucket, Key=name, Body=b"")
        self.assertEqual(self.keys(Bucket=bucket), utf8(names))
        first = self.s3.list_objects_v2(Bucket=bucket)
        self.assertEqual((first["KeyCount"], first["IsTruncated"]), (1000, True))

    def test_every_write_is_listed_at_once(self):
        for n in range(20):
            self.put("seen", data(n * 1000, n))
            entry = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="seen")["Contents"][0]
            self.assertEqual(entry["Size"], n * 1000)
            self.s3.delete_object(Bucket=self.bucket, Key="seen")
            self.assertEqual(self.keys(Prefix="seen"), [])

    def test_an_unfinished_upload_is_not_listed(self):
        up = {"Bucket": self.bucket, "Key": "unfinished"}
        up["UploadId"] = self.s3.create_multipart_upload(**up)["UploadId"]
        self.s3.upload_part(**up, PartNumber=1, Body=data(MIB))
        self.assertEqual(self.keys(Prefix="unfinished"), [])
        self.s3.abort_multipart_upload(**up)


if __name__ == "__main__":
    main()
