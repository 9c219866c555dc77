"""Promises of the repository itself: what is documented exists, what exists is documented."""

import os
import re
import runpy
import subprocess
import sys
import tomllib

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands

from tests.environment import ROOT, SETTINGS, names_read

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Programs and checks beside the product, which nothing of it imports.
NOT_THE_PRODUCT = {"bench", "tests"}
PACKAGES = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in NOT_THE_PRODUCT]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]+`")

# Spelled so that this file does not contain what it forbids.
NOT_OURS_TO_NAME = re.compile(
    r"py[p]i\.org|python[h]osted\.org|registry\.[n]pmjs|proxy\.[g]olang\.org"
    r"|--(extra-)?index-[u]rl|--find-[l]inks|@ fil[e]:|/wor[k]/|/roo[t]/"
)

# What a production deployment sets at the least.
PRODUCTION = {
    "SECRET_KEY": "a-secret-key-of-more-than-fifty-characters-for-the-deployment-check-alone",
    "PUBLIC_URL": "https://transcribe.example.com",
    "ALLOWED_HOSTS": "transcribe.example.com",
    "DATABASE_URL": "postgres://user@database.example.com/transcribe",
    "REDIS_URL": "redis://redis.example.com/0",
    "DEEPGRAM_API_KEY": "a-key",
    "ENCRYPTION_KEYS": "b25seSBmb3IgdGhlIGRlcGxveW1lbnQgY2hlY2sgb2s=",
}


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_in(document):
    text = document.read_text()
    return "\n".join(FENCE.findall(text) + INLINE_CODE.findall(FENCE.sub("", text)))


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def requirements(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-r ")]


def distribution(requirement):
    """The name, compared as PEP 503 says, and the version: ("django-storages", "1.14.6")."""
    name, _, version = requirement.split(";")[0].strip().partition("==")
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower(), version


def manage(*arguments, environment):
    return run("manage.py", *arguments, environment=environment)


def run(*arguments, environment):
    kept = {name: value for name, value in os.environ.items() if name not in names_read(SETTINGS)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_setting_is_documented():
    read = {name for package in PACKAGES for module in package.rglob("*.py") for name in names_read(module)}
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (ROOT / "docs" / "settings.md").read_text()))

    assert read, "no setting was found: has the way they are read changed?"
    assert read - documented == set()


def test_the_environment_is_read_by_the_settings_alone():
    readers = [
        module.relative_to(ROOT)
        for package in PACKAGES
        if package.name != "sandbox"  # a program of its own
        for module in package.rglob("*.py")
        if module != SETTINGS and names_read(module)
    ]

    assert readers == []


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_production_environment_passes_the_deployment_check(tmp_path):
    result = manage(
        "check", "--deploy", "--fail-level=WARNING", environment=PRODUCTION | {"DATA_DIR": str(tmp_path)}
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {
                "DEBUG": "1",
                "SECRET_KEY": "",
                "ENCRYPTION_KEYS": "",
                "PUBLIC_URL": "http://transcribe.example.com",
                "ALLOWED_HOSTS": "*",
                "TRUSTED_PROXIES": "*",
                "DATABASE_URL": "sqlite:////tmp/db.sqlite3",
                "DEEPGRAM_API_KEY": "",
                "WEBHOOK_ALLOW_PRIVATE": "1",
                "FETCH_ALLOW_PRIVATE": "1",
            },
            {
                "security.W018",
                *(f"transcribe.W00{number}" for number in range(1, 9)),
            },
        ),
        (
            {"SECRET_KEY": "short"},
            {"security.W009"},
        ),
        ({"PUBLIC_URL": "https://elsewhere.example.com"}, {"transcribe.E007"}),
    ],
    ids=["everything", "a weak key", "another host"],
)
def test_what_is_dangerous_in_production_fails_the_deployment_check(changed, told, tmp_path):
    environment = {name: value for name, value in (PRODUCTION | changed).items() if value}

    result = manage(
        "check", "--deploy", "--fail-level=WARNING", environment=environment | {"DATA_DIR": str(tmp_path)}
    )

    assert result.returncode == 1
    found = set(re.findall(r"[a-z]+\.[EW]\d{3}", result.stderr))
    assert told <= found
    assert not found & {"security.W004", "security.W008", "security.W012", "security.W016"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80x"),
        ("MAX_UPLOAD_BYTES", "2GB"),
        ("SYNC_MAX_SECONDS", "soon"),
        ("PRICES", "cheap"),
        ("PRICES", "[]"),
        ("PRICES", '{"default": "x"}'),
        ("PRICES", '{"default": -1}'),
        ("REGIONS", "[{}]"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://host:port/name"),
        ("DATA_DIR", "/dev/null/data"),
        ("STORAGE_URL", "nonsense"),
        ("EMAIL_URL", "nonsense"),
        ("EMAIL_URL", "smtp://host:port"),
        ("REDIS_URL", "nonsense"),
        ("REDIS_URL", "redis://host:port"),
        ("PUBLIC_URL", "transcribe.example.com"),
        ("DEEPGRAM_BASE_URL", "nonsense"),
        ("ENCRYPTION_KEYS", "short"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("WORKER_CONCURRENCY", "-1"),
        ("LEASE_SECONDS", "nan"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_in_one_line(name, value, tmp_path, monkeypatch):
    for each in names_read(SETTINGS):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=rf"^{name} [^\n]+\Z"):
        runpy.run_path(str(SETTINGS))


@pytest.mark.parametrize(
    "program",
    [
        ("manage.py", "check"),
        ("-m", "transcribe_project.server"),
        ("-m", "celery", "-A", "transcribe_project", "worker"),
    ],
    ids=["manage.py", "server", "celery"],
)
def test_every_program_says_in_one_line_which_setting_cannot_be_read(program, tmp_path):
    result = run(*program, environment={"DATA_DIR": str(tmp_path), "PORT": "80x"})

    assert result.returncode == 1
    assert result.stderr.startswith("ImproperlyConfigured: PORT ")
    assert result.stderr.count("\n") == 1


def test_an_empty_environment_passes_the_check(tmp_path):
    result = manage("check", "--fail-level=WARNING", environment={"DATA_DIR": str(tmp_path)})

    assert result.returncode == 0, result.stderr


def test_documented_commands_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {"make": targets, "manage.py": set(get_commands())}

    missing = [
        f"{document.relative_to(ROOT)}: {program} {name}"
        for document in documents()
        for program, name in re.findall(r"\b(make|manage\.py) ([a-z_]+)", code_in(document))
        if name not in known[program]
    ]

    assert missing == []


def test_no_file_names_a_package_registry_or_a_path_of_one_machine():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in NOT_OURS_TO_NAME.finditer(text)]

    assert found == []


def test_every_package_is_under_the_import_contracts():
    assert set(PYPROJECT["tool"]["importlinter"]["root_packages"]) == {package.name for package in PACKAGES}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-speech.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_as_the_lock_has_them(name):
    lock = dict(distribution(line) for line in requirements("constraints.txt"))

    for requirement in requirements(name):
        project, version = distribution(requirement)
        assert version and lock[project] == version, requirement
