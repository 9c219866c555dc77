"""Exits 0 if the process of this container is well, else 1 with what it said: `healthcheck.py web|worker`.

The image has no curl. Web and live are asked whether they are ready, workers and beat whether they are alive:
a worker that waits for its database needs no restart.
"""

import os
import sys
import urllib.error
import urllib.request

ASKED = {"web": ("PORT", "8000", "/readyz"), "worker": ("WORKER_PORT", "9810", "/healthz")}


def main(role: str) -> int:
    setting, default, path = ASKED[role]
    url = f"http://127.0.0.1:{os.environ.get(setting, default)}{path}"
    # Never through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=4).close()
    except urllib.error.HTTPError as error:
        sys.stderr.write(error.read().decode(errors="replace") + "\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
