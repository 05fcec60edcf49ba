"""boto3 on buckets: create, head, location, list, delete, and whose they are."""

import datetime
import threading

from common import OTHER, OTHER_ACCOUNT, PART_MIN, Case, boto, data, main, unique


class Buckets(Case):
    def test_create_head_delete(self):
        name = unique()
        created = self.s3.create_bucket(Bucket=name)
        self.assertEqual(created["ResponseMetadata"]["HTTPStatusCode"], 200)
        self.assertEqual(created["Location"], "/" + name)
        self.assertEqual(self.s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"], 200)
        deleted = self.s3.delete_bucket(Bucket=name)
        self.assertEqual(deleted["ResponseMetadata"]["HTTPStatusCode"], 204)
        with self.refused(404, "404"):
            self.s3.head_bucket(Bucket=name)

    def test_create_again_changes_nothing(self):
        self.put("kept", b"kept")
        try:  # us-east-1 answers 200 for old times' sake, every other region 409
            self.s3.create_bucket(Bucket=self.bucket)
        except self.s3.exceptions.BucketAlreadyOwnedByYou:
            pass
        self.assertEqual(self.read("kept"), b"kept")

    def test_names_that_are_not_names(self):
        for name in ("ab", "UPPER", "under_score", "a..b", "-dash", "dash-", "192.168.5.4", "xn--a", "a" * 64):
            with self.subTest(name), self.refused(400, "InvalidBucketName"):
                self.s3.create_bucket(Bucket=name)

    def test_longest_and_shortest_name(self):
        for name in ("a1b", (unique() + "x" * 63)[:63]):
            self.s3.create_bucket(Bucket=name)
            self.s3.put_object(Bucket=name, Key="k", Body=b"v")
            self.s3.delete_object(Bucket=name, Key="k")
            self.s3.delete_bucket(Bucket=name)

    def test_location_is_the_default_region(self):
        self.assertIsNone(self.s3.get_bucket_location(Bucket=self.bucket)["LocationConstraint"])
        with self.refused(404, "NoSuchBucket"):
            self.s3.get_bucket_location(Bucket=unique())

    def test_list_shows_own_buckets_in_order(self):
        names = sorted(unique("listed") for _ in range(5))
        for name in reversed(names):
            self.s3.create_bucket(Bucket=name)
        listed = self.s3.list_buckets()
        ours = [b["Name"] for b in listed["Buckets"] if b["Name"] in names]
        self.assertEqual(ours, names)
        self.assertTrue(listed["Owner"]["ID"])
        age = datetime.datetime.now(datetime.timezone.utc) - listed["Buckets"][0]["CreationDate"]
        self.assertLess(abs(age.total_seconds()), 3600)
        others = [b["Name"] for b in boto(OTHER).list_buckets()["Buckets"]]
        self.assertFalse(set(names) & set(others))

    def test_list_in_pages_and_by_prefix(self):
        stem = unique("paged")
        names = [f"{stem}-{n}" for n in range(5)]
        for name in names:
            self.s3.create_bucket(Bucket=name)
        got, token = [], None
        while True:
            more = {"ContinuationToken": token} if token else {}
            page = self.s3.list_buckets(Prefix=stem, MaxBuckets=2, **more)
            self.assertLessEqual(len(page["Buckets"]), 2)
            got += [b["Name"] for b in page["Buckets"]]
            token = page.get("ContinuationToken")
            if not token:
                break
        self.assertEqual(got, names)

    def test_delete_wants_an_empty_bucket(self):
        name = unique()
        self.s3.create_bucket(Bucket=name)
        self.s3.put_object(Bucket=name, Key="a", Body=b"x")
        with self.refused(409, "BucketNotEmpty"):
            self.s3.delete_bucket(Bucket=name)
        self.assertEqual(self.s3.get_object(Bucket=name, Key="a")["Body"].read(), b"x")
        self.s3.delete_object(Bucket=name, Key="a")
        self.s3.delete_bucket(Bucket=name)
        with self.refused(404, "NoSuchBucket"):
            self.s3.delete_bucket(Bucket=name)

    def test_a_bucket_made_again_is_empty(self):
        # Deleted buckets that come back with their objects were a bug of others.
        name = unique()
        for body in (b"first", b"second"):
            self.s3.create_bucket(Bucket=name)
            self.assertEqual(self.keys(Bucket=name), [])
            with self.refused(404, "NoSuchKey"):
                self.s3.get_object(Bucket=name, Key="a")
            self.s3.put_object(Bucket=name, Key="a", Body=body * 5000)
            self.s3.delete_object(Bucket=name, Key="a")
            self.s3.delete_bucket(Bucket=name)

    def test_an_upload_does_not_outlive_its_bucket(self):
        name = unique()
        self.s3.create_bucket(Bucket=name)
        upload = self.s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
        part = self.s3.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=data(PART_MIN))
        self.s3.delete_bucket(Bucket=name)  # an upload in progress does not keep it, and ends with it
        self.s3.create_bucket(Bucket=name)
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=name))
        with self.refused(404, "NoSuchUpload"):
            self.s3.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=2, Body=b"x")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        with self.refused(404, "NoSuchUpload"):
            self.s3.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload, MultipartUpload=parts)
        self.s3.delete_bucket(Bucket=name)

    def test_everything_in_a_missing_bucket(self):
        name = unique("missing")
        calls = {
            "put": lambda: self.s3.put_object(Bucket=name, Key="k", Body=b"x"),
            "get": lambda: self.s3.get_object(Bucket=name, Key="k"),
            "delete": lambda: self.s3.delete_object(Bucket=name, Key="k"),
            "batch": lambda: self.s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k"}]}),
            "list": lambda: self.s3.list_objects(Bucket=name),
            "list v2": lambda: self.s3.list_objects_v2(Bucket=name),
            "uploads": lambda: self.s3.list_multipart_uploads(Bucket=name),
            "upload": lambda: self.s3.create_multipart_upload(Bucket=name, Key="k"),
            "copy": lambda: self.s3.copy_object(Bucket=name, Key="k", CopySource=f"{self.bucket}/k"),
            "copy from": lambda: self.s3.copy_object(Bucket=self.bucket, Key="k", CopySource=f"{name}/k"),
        }
        for what, call in calls.items():
            with self.subTest(what), self.refused(404, "NoSuchBucket"):
                call()

    def test_two_at_once_make_one(self):
        name, clients, outcome = unique("race"), [boto(), boto(OTHER)], []

        def create(client):
            try:
                client.create_bucket(Bucket=name)
                outcome.append(client)
            except client.exceptions.BucketAlreadyExists:
                pass

        threads = [threading.Thread(target=create, args=(c,)) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(outcome), 1)
        outcome[0].head_bucket(Bucket=name)


class OthersBuckets(Case):
    """A bucket of another account: denied, whatever the operation."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = boto(OTHER)
        cls.theirs = unique("theirs")
        cls.other.create_bucket(Bucket=cls.theirs)
        cls.other.put_object(Bucket=cls.theirs, Key="k", Body=b"theirs")

    def test_the_name_is_taken(self):
        with self.refused(409, "BucketAlreadyExists"):
            self.s3.create_bucket(Bucket=self.theirs)

    def test_head(self):
        with self.refused(403, "403"):
            self.s3.head_bucket(Bucket=self.theirs)

    def test_every_operation_is_denied(self):
        theirs, upload = self.theirs, None
        upload = self.other.create_multipart_upload(Bucket=theirs, Key="up")["UploadId"]
        at = {"Bucket": theirs, "Key": "k"}
        up = {"Bucket": theirs, "Key": "up", "UploadId": upload}
        part = self.other.upload_part(**up, PartNumber=1, Body=b"x")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self.put("mine", b"mine")
        calls = {
            "location": lambda: self.s3.get_bucket_location(Bucket=theirs),
            "delete bucket": lambda: self.s3.delete_bucket(Bucket=theirs),
            "list": lambda: self.s3.list_objects(Bucket=theirs),
            "list v2": lambda: self.s3.list_objects_v2(Bucket=theirs),
            "uploads": lambda: self.s3.list_multipart_uploads(Bucket=theirs),
            "get": lambda: self.s3.get_object(**at),
            "get missing": lambda: self.s3.get_object(Bucket=theirs, Key="missing"),
            "put": lambda: self.s3.put_object(**at, Body=b"mine"),
            "delete": lambda: self.s3.delete_object(**at),
            "batch": lambda: self.s3.delete_objects(Bucket=theirs, Delete={"Objects": [{"Key": "k"}]}),
            "copy to": lambda: self.s3.copy_object(**at, CopySource=f"{self.bucket}/mine"),
            "copy from": lambda: self.s3.copy_object(Bucket=self.bucket, Key="got", CopySource=f"{theirs}/k"),
            "create upload": lambda: self.s3.create_multipart_upload(**at),
            "part": lambda: self.s3.upload_part(**up, PartNumber=1, Body=b"mine"),
            "part copy to": lambda: self.s3.upload_part_copy(**up, PartNumber=1, CopySource=f"{self.bucket}/mine"),
            "parts": lambda: self.s3.list_parts(**up),
            "abort": lambda: self.s3.abort_multipart_upload(**up),
            "complete": lambda: self.s3.complete_multipart_upload(**up, MultipartUpload=parts),
        }
        for what, call in calls.items():
            with self.subTest(what), self.refused(403, "AccessDenied"):
                call()
        with self.subTest("head object"), self.refused(403, "403"):
            self.s3.head_object(**at)
        mine = self.s3.create_multipart_upload(Bucket=self.bucket, Key="mine-up")["UploadId"]
        with self.subTest("part copy from"), self.refused(403, "AccessDenied"):
            source = {"CopySource": f"{theirs}/k", "UploadId": mine, "PartNumber": 1}
            self.s3.upload_part_copy(Bucket=self.bucket, Key="mine-up", **source)
        # Nothing of it has happened.
        self.assertEqual(self.other.get_object(**at)["Body"].read(), b"theirs")
        self.assertEqual(len(self.other.list_parts(**up)["Parts"]), 1)
        self.assertEqual(self.keys(), ["mine"])
        self.other.abort_multipart_upload(**up)

    def test_an_upload_id_opens_no_other_bucket(self):
        theirs = self.other.create_multipart_upload(Bucket=self.theirs, Key="up")["UploadId"]
        up = {"Bucket": self.bucket, "Key": "up", "UploadId": theirs}
        with self.refused(404, "NoSuchUpload"):
            self.s3.upload_part(**up, PartNumber=1, Body=b"x")
        with self.refused(404, "NoSuchUpload"):
            self.s3.list_parts(**up)
        with self.refused(404, "NoSuchUpload"):
            self.s3.abort_multipart_upload(**up)
        self.other.abort_multipart_upload(Bucket=self.theirs, Key="up", UploadId=theirs)

    def test_expected_owner(self):
        self.other.head_bucket(Bucket=self.theirs, ExpectedBucketOwner=OTHER_ACCOUNT)
        with self.refused(403, "403"):
            self.other.head_bucket(Bucket=self.theirs, ExpectedBucketOwner="111111111111")
        with self.refused(403, "AccessDenied"):
            wrong = {"ExpectedBucketOwner": "111111111111"}
            self.other.put_object(Bucket=self.theirs, Key="k", Body=b"no", **wrong)
        self.assertEqual(self.other.get_object(Bucket=self.theirs, Key="k")["Body"].read(), b"theirs")


if __name__ == "__main__":
    main()
