"""Runs the benchmarks that are named, or all of them."""

import importlib
import sys

ALL = ("accuracy", "batch", "memory", "webhooks")


def main() -> None:
    for name in sys.argv[1:] or ALL:
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
