"""What tests/conftest.py promises to the other tests."""

import os
import subprocess
import sys

import redis
from django.conf import settings
from django.contrib.auth import get_user_model

from tests.environment import ROOT, names_read

COUNT_USERS = """
import django
django.setup()
from django.contrib.auth import get_user_model
print(get_user_model().objects.count())
"""


def test_a_process_given_the_database_url_sees_the_rows_of_the_test(database_url):
    get_user_model().objects.create(username="seen")

    child = subprocess.run(
        [sys.executable, "-c", COUNT_USERS],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert child.stdout == "1\n", child.stderr


def test_redis_is_empty_for_each_test(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_redis_is_empty_for_each_test_in_whatever_order(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_nothing_of_the_developer_reaches_the_settings():
    assert settings.DEEPGRAM_API_KEY == ""
    assert ROOT not in settings.DATA_DIR.parents


def test_the_names_a_module_reads_are_found_and_those_it_writes_are_not(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "ONE = env.str('ONE', default='')\n"
        "TWO = os.environ.get('TWO')\n"
        "THREE = os.environ['THREE']\n"
        "FOUR = os.getenv('FOUR')\n"
        "os.environ.setdefault('WRITTEN', '')\n"
        "os.environ['WRITTEN'] = ''\n"
        "DATABASES = env.db_url_config(DATABASE_URL)\n"
    )

    assert names_read(module) == {"ONE", "TWO", "THREE", "FOUR"}
