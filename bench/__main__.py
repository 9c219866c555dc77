"""Runs the benchmark that is named, which may take an argument, or all of them."""

import importlib
import sys

ALL = (
    "accuracy",
    "batch",
    "claims",
    "console",
    "live",
    "live_accuracy",
    "memory",
    "sync",
    "uploads",
    "webhooks",
)


def main() -> None:
    for name in sys.argv[1:2] or ALL:
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
