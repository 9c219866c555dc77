"""A private S3: moto's server, which keeps everything in its memory and believes every signature."""

import sys
import urllib.request
from collections.abc import Mapping

import boto3
from botocore.client import Config

from tests.services.process import Server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


class S3Server(Server):
    """S3 without a password on 127.0.0.1, with one empty bucket, `recordings`."""

    prefix = "s3"
    bucket = "recordings"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage_url(self) -> str:
        """For STORAGE_URL; `environment` goes with it."""
        return f"s3://{self.bucket}/prefix?endpoint={self.url}&region=us-east-1"

    @property
    def environment(self) -> Mapping[str, str]:
        return CREDENTIALS | {"STORAGE_URL": self.storage_url, "NO_PROXY": "127.0.0.1,localhost"}

    @property
    def client(self):
        config = Config(s3={"addressing_style": "path"}, proxies={})
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=config,
        )

    def start(self) -> None:
        super().start()
        self.client.create_bucket(Bucket=self.bucket)

    def command(self) -> list[str]:
        # Not the tests' own directory, whose modules it would find before the standard library's.
        return [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"{self.url}/moto-api/data.json", timeout=2).close()
        except OSError:
            return False
        return self.running

    def objects(self) -> set[str]:
        """What is in the bucket."""
        listed = self.client.list_objects_v2(Bucket=self.bucket)
        return {row["Key"] for row in listed.get("Contents", ())}

    def unfinished(self) -> list[str]:
        """The keys of uploads in parts that were neither joined nor dropped."""
        listed = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [row["Key"] for row in listed.get("Uploads", ())]
