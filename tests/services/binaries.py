"""Where the servers' programs are, or how to get them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

# Debian keeps the PostgreSQL server's programs out of PATH, one directory per major version.
POSTGRESQL_DIRECTORIES = Path("/usr/lib/postgresql")
APT_TIMEOUT = 300


class ProgramMissing(Exception):
    """A server's program is not installed, and may not or could not be installed from here."""


@cache
def find(program: str, package: str) -> Path:
    """The path of `program`; as root on Debian, `package` is installed when it is missing.

    Raises ProgramMissing, which says what to install.
    """
    found = _look(program) or (_apt_install(package) and _look(program))
    if not found:
        raise ProgramMissing(
            f"{program} is missing: the tests run on real servers. On Debian or Ubuntu: "
            "apt-get install postgresql redis-server nginx-light prometheus docker-compose; or put the "
            "servers' programs in PATH."
        )
    return found


def _look(program: str) -> Path | None:
    newest_first = sorted(
        (path for path in POSTGRESQL_DIRECTORIES.glob("*/bin") if path.parent.name.isdecimal()),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest_first)]))
    return Path(found) if found else None


def _apt_install(package: str) -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    # Another worker of pytest-xdist may be installing something just now.
    wait = ["-o", f"DPkg::Lock::Timeout={APT_TIMEOUT}"]
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *wait, package]
    # An image's package lists are often absent or old, so a failure is worth one update.
    return _apt(install) or (_apt(["apt-get", "update"]) and _apt(install))


def _apt(command: list[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, env=environment, timeout=APT_TIMEOUT, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
