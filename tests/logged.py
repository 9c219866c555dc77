"""Looks through what is logged, rendered as in production, for what must never be: secrets and transcripts.

Whatever the test is about: each line of the root logger while it runs, and all that servers and workers which
it starts have written by their end. What a test makes is known by its shape: keys, grants, webhook secrets,
signed URLs, and the words that the sandbox hears, which are of no language.
"""

import logging
import os
import re
from functools import cache

# What sandboxes were told to say, and the recording that it is shipped with.
spoken = {"It was the best of times", "it was the worst of times"}
FORBIDDEN = re.compile(
    r"\b[A-Za-z0-9]{8}\.[A-Za-z0-9]{43}\b"  # an API key
    r"|\beyJ[\w-]{20,}"  # a grant
    r"|\bwhsec_[\w+/=-]{8,}"
    r"|(?:[?&;]|\b)(?:X-Amz-Signature|X-Amz-Credential|Signature|token|api_key)=(?!\[redacted\])[\w%.~+/-]{6,}"
    r"|\b(?:Token|Bearer) (?!\[redacted\])[\w.-]{20,}"
    r"|the-providers-key|canary-"
    # Five words of sandbox.engines.tones.word_of in a row
    r"|\b(?:[bdfgjklmnprstvwz][aeiou]){2,}(?:[ ,.]+(?:[bdfgjklmnprstvwz][aeiou]){2,}\b){4}",
    re.IGNORECASE,
)


class _Watch(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        look_at(self.format(record))


_found: list[str] = []


@cache
def _watch() -> _Watch:
    # Once the settings may be read.
    from transcribe_project.logs import JSONFormatter

    watch = _Watch()
    watch.setFormatter(JSONFormatter())
    return watch


def watch() -> None:
    """Look at what is logged in this process from now on. Configuring logs anew takes all handlers away."""
    if _watch() not in logging.root.handlers:
        logging.root.addHandler(_watch())


def look_at(text: str) -> None:
    """Remember the lines that tell what they must not."""
    found = [text[match.start() : match.end()] for match in FORBIDDEN.finditer(text)]
    # Fewer words are said of other things too.
    found += [phrase for phrase in spoken if phrase.count(" ") >= 2 and phrase in text]
    for secret in found:
        line = next(line for line in text.splitlines() if secret in line)
        _found.append(f"{secret!r} in {line!r} (during {os.environ.get('PYTEST_CURRENT_TEST', 'no test')})")


def check() -> None:
    """AssertionError with the lines that were found since the last time."""
    found, _found[:] = list(_found), []
    assert not found, "logged, and never to be: " + "; ".join(found)
