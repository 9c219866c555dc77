"""Which of Deepgram's options a recording may be sent with, and what form they take.

The table follows the parameters of `POST /v1/listen` in Deepgram's OpenAPI document, with what its feature
pages add (keyterm, language_hint, encoding, sample_rate). A rule stands here only if Deepgram documents that
it refuses the request or ignores the wish: what it merely leaves unused passes.

    InvalidOptions      code "invalid_options", errors: option name -> what is wrong with it
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | list[str]
Reader: TypeAlias = Callable[[object], Value]

DEFAULTS: Mapping[str, Value] = {"model": "nova-3", "smart_format": True}


class InvalidOptions(ValueError):
    """The caller's options cannot be sent; `errors` names each offending option and says why."""

    code = "invalid_options"

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {message}" for name, message in self.errors.items()))


def validate(options: Mapping[str, object], *, defaults: Mapping[str, Value] = DEFAULTS) -> dict[str, Value]:
    """Return the options as they will be stored and sent, in the table's types, with `defaults` filled in.

    "true" and "False" become booleans, numbers in strings become numbers, a single value of a repeatable
    option becomes a list, null means not given. The result validates to itself. Pass `defaults={}` where
    Deepgram's own are to hold, as for its SDKs' users. Raises InvalidOptions with every error found.
    """
    errors: dict[str, str] = {}
    valid: dict[str, Value] = dict(defaults)
    for name, value in options.items():
        if name not in OPTIONS:
            errors[str(name)] = _why_not_known(str(name))
        elif value is not None:
            try:
                valid[name] = OPTIONS[name](value)
            except ValueError as error:
                errors[name] = str(error)
    # Judged only once each option is right by itself: a misspelt model must not blame its neighbours.
    errors = errors or dict(_conflicts(valid))
    if errors:
        raise InvalidOptions(errors)
    return valid


def to_query(options: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Return validated options as query pairs: sorted by name, lists as repeated keys in their own order."""
    return [
        (name, _spelled(item))
        for name, value in sorted(options.items())
        for item in (value if isinstance(value, list) else [value])
    ]


def from_query(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Pick the known options out of a query that also carries other things; the answer is for `validate`.

    A repeated key becomes a list. Names outside the table, policy-owned ones included, are left out: refusing
    them is up to the endpoint, which alone knows its other fields.
    """
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in OPTIONS:
            found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def _spelled(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def boolean(value: object) -> bool:
    spelled = str(value).lower()
    if isinstance(value, bool | str) and spelled in ("true", "false"):
        return spelled == "true"
    raise ValueError("must be true or false")


def integer(minimum: int, maximum: int) -> Reader:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value
        if isinstance(number, int) and not isinstance(number, bool) and minimum <= number <= maximum:
            return number
        raise ValueError(f"must be a whole number from {minimum} to {maximum}")

    return read


def seconds(value: object) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
            if math.isfinite(number) and number > 0:
                return number
    raise ValueError("must be a number of seconds greater than 0")


def text(max_length: int = 200, form: str = ".+", example: str = "") -> Reader:
    pattern = re.compile(form, re.DOTALL)

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError("must be a text that is not empty")
        if len(value) > max_length:
            raise ValueError(f"must have at most {max_length} characters")
        # Neither survives storage or the query: PostgreSQL refuses NUL in JSON, UTF-8 has no lone surrogates.
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise ValueError("must not contain control characters")
        if not pattern.fullmatch(value):
            raise ValueError(f"must look like {example}")
        return value

    return read


def one_of(*choices: str) -> Reader:
    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError(f"must be one of {', '.join(choices)}")

    return read


def many(item: Reader, max_items: int = 1000) -> Reader:
    def read(value: object) -> list[str]:
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not 1 <= len(values) <= max_items:
            raise ValueError(f"must have 1 to {max_items} entries")
        return [str(item(entry)) for entry in values]

    return read


def either(first: Reader, second: Reader) -> Reader:
    def read(value: object) -> Value:
        try:
            return first(value)
        except ValueError as error:
            try:
                return second(value)
            except ValueError as other:
                raise ValueError(f"{error}, or {other}") from None

    return read


def redaction(value: object) -> str:
    return "true" if value is True else str(_ENTITY(value))


_LANGUAGE = text(35, r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", 'a language tag such as "en" or "pt-BR"')
_ENTITY = text(100, r"[A-Za-z0-9_]+", "pci, pii, numbers, ssn or the name of an entity")
_MODE = one_of("extended", "strict")

OPTIONS: Mapping[str, Reader] = {
    # Model and language
    "model": text(100, r"[A-Za-z0-9._-]+", "nova-3, or the id of a custom model"),
    "version": text(100),
    "tier": text(100),
    "language": _LANGUAGE,
    "detect_language": either(boolean, many(_LANGUAGE, 100)),
    "language_hint": many(_LANGUAGE, 100),
    # Formatting
    "smart_format": boolean,
    "punctuate": boolean,
    "paragraphs": boolean,
    "numerals": boolean,
    "measurements": boolean,
    "dictation": boolean,
    "filler_words": boolean,
    "profanity_filter": boolean,
    "redact": many(redaction, 100),
    "replace": many(text(500, r"[^:]+(:.*)?", "find:replacement")),
    "search": many(text(500)),
    "keyterm": many(text(500)),
    "keywords": many(text(500, r"[^:]+(:-?\d+(\.\d+)?)?", "word or word:boost")),
    # Structure
    "utterances": boolean,
    "utt_split": seconds,
    "diarize": boolean,
    "diarize_model": one_of("latest", "v1", "v2"),
    "multichannel": boolean,
    "alternatives": integer(1, 100),
    # Raw audio; the encodings are those of the OpenAPI document and of the feature page together
    "encoding": one_of(
        "linear16",
        "linear32",
        "flac",
        "alaw",
        "mulaw",
        "amr-nb",
        "amr-wb",
        "opus",
        "ogg-opus",
        "speex",
        "g729",
    ),
    "sample_rate": integer(1, 768_000),
    "channels": integer(1, 20),
    # Intelligence
    "summarize": either(boolean, one_of("v2")),
    "topics": boolean,
    "custom_topic": many(text(500), 100),
    "custom_topic_mode": _MODE,
    "intents": boolean,
    "custom_intent": many(text(500), 100),
    "custom_intent_mode": _MODE,
    "sentiment": boolean,
    "detect_entities": boolean,
    # Returned as metadata.extra
    "extra": many(text(2048, r"[^:]+:.*", "key:value")),
}

POLICY_OWNED = {
    "callback": "is not an option: give callback_url beside the options",
    "callback_method": "is not an option: give callback_url beside the options",
    "mip_opt_out": "is set by the project's policy",
    "tag": "is not an option: give tags beside the options",
}
# Those of the live socket that a recording has no use for.
LIVE_ONLY = frozenset({"endpointing", "interim_results", "no_delay", "utterance_end_ms", "vad_events"})


def _why_not_known(name: str) -> str:
    if name in POLICY_OWNED:
        return POLICY_OWNED[name]
    if name in LIVE_ONLY:
        return "is for live streams only"
    nearest = difflib.get_close_matches(name.lower()[:100], OPTIONS, n=1)
    return f"is not known (did you mean {nearest[0]}?)" if nearest else "is not known"


# The general-purpose and legacy names of developers.deepgram.com/docs/model; anything else is a custom model,
# of which we cannot know what it supports.
_MODEL_FAMILY = re.compile(
    r"(nova-3|nova-2|nova|enhanced|base|whisper|flux)(-.*)?"
    r"|(general|meeting|phonecall|finance|conversationalai|voicemail|video)"
)
KEYTERM_TOKENS = 500  # developers.deepgram.com/docs/keyterm


def model_family(options: Mapping[str, Value]) -> str | None:
    """That of the model asked for, as nova-3 of nova-3-medical; None for custom models."""
    known = _MODEL_FAMILY.fullmatch(str(options.get("model", "base-general")))
    return (known[1] or "base") if known else None


def _conflicts(options: Mapping[str, Value]) -> Iterable[tuple[str, str]]:
    """Yield (option, message) for each rule between options that is broken."""
    family = model_family(options)
    language = str(options.get("language", "")).lower()

    if family == "flux":
        yield "model", "is for live streams only: Deepgram serves Flux at /v2/listen"
    if "keyterm" in options and family not in ("nova-3", None):
        yield "keyterm", "needs a nova-3 model; use keywords with this one"
    if "keyterm" in options and _words(options["keyterm"]) > KEYTERM_TOKENS:
        yield "keyterm", f"must not exceed {KEYTERM_TOKENS} tokens in all"
    if "keywords" in options and family == "nova-3":
        yield "keywords", "is not supported by nova-3; use keyterm"
    if language == "multi" and family not in ("nova-3", "nova-2", None):
        yield "language", '"multi" needs a nova-3 or nova-2 model'
    if "language_hint" in options and (language != "multi" or family not in ("nova-3", None)):
        yield "language_hint", 'needs a nova-3 model and the language "multi"'
    if "language" in options and options.get("detect_language", False) is not False:
        yield "detect_language", "contradicts language: give one of the two"
    if "diarize_model" in options and options.get("diarize") is False:
        yield "diarize_model", "turns diarization on, which diarize=false contradicts"
    if "encoding" in options:
        yield from _encoding_conflicts(options)


def _encoding_conflicts(options: Mapping[str, Value]) -> Iterable[tuple[str, str]]:
    fixed_rates = {"amr-nb": 8000, "amr-wb": 16000}  # developers.deepgram.com/docs/sample-rate
    needed = fixed_rates.get(str(options["encoding"]))
    if "sample_rate" not in options:
        yield "encoding", "describes raw audio and needs sample_rate too; leave both out for audio files"
    elif needed and options["sample_rate"] != needed:
        yield "sample_rate", f"must be {needed} for {options['encoding']}"


def _words(keyterms: Value) -> int:
    # Deepgram's tokens are pieces of words and its tokeniser is not public, so words are the lower bound:
    # what is refused here would surely be refused there, and the rest is for Deepgram to judge.
    return sum(len(term.split()) for term in keyterms) if isinstance(keyterms, list) else 0
