"""STORAGE_URL: where recordings and answers are kept, in one line."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured

OPTIONS = {"endpoint": "endpoint_url", "region": "region_name"}


def storage_at(url: str, directory: Path) -> dict[str, Any]:
    """Django's description of the storage at `url`; files below `directory` if it is empty.

    s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]. ImproperlyConfigured for anything else.
    """
    if not url:
        # Names are ours, so writing one again replaces it.
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": directory, "allow_overwrite": True},
        }
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or given.keys() - OPTIONS.keys():
        raise ImproperlyConfigured("STORAGE_URL must look like s3://BUCKET/PREFIX?endpoint=URL&region=NAME.")
    options = {OPTIONS[name]: value for name, value in given.items()}
    return {
        "BACKEND": "jobs.audio.object_storage.ObjectStorage",
        "OPTIONS": {"bucket_name": parts.netloc, "location": parts.path.strip("/"), **options},
    }
