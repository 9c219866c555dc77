"""What the query string of `/v1/listen` asks for. Pure.

Unknown parameters are ignored and booleans taken in any case, as clients in the field rely on; values that
cannot be read are refused in Deepgram's words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from sandbox import errors

NOVA_2_VARIANTS = [
    "meeting",
    "finance",
    "conversationalai",
    "voicemail",
    "video",
    "medical",
    "drivethru",
    "automotive",
    "phonecall",
    "atc",
]
FAMILIES = {
    "nova-3": ["general", "medical"],
    "nova-2": ["general", *NOVA_2_VARIANTS],
    "nova": ["general", "phonecall", "medical"],
    "enhanced": ["general", "meeting", "phonecall", "finance"],
    "base": ["general", "meeting", "phonecall", "finance", "conversationalai", "voicemail", "video"],
    "whisper": ["tiny", "base", "small", "medium", "large"],
}
# The specification also lists the use cases of the base model by themselves.
MODELS = frozenset(
    [*FAMILIES, *(f"{name}-{use}" for name, uses in FAMILIES.items() for use in uses), *FAMILIES["base"]]
)
ENCODINGS = frozenset(
    ["linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729"]
)
HEADERLESS = frozenset(["linear16", "linear32", "alaw", "mulaw"])
MAX_CHANNELS = 20
MAX_TAG_LENGTH = 128
MAX_EXTRA_LENGTH = 2048


@dataclass(frozen=True)
class ListenOptions:
    model: str = "base-general"
    language: str = "en"
    detect_language: bool = False
    punctuate: bool = False
    paragraphs: bool = False
    utterances: bool = False
    utt_split: float = 0.8
    diarize: bool = False
    multichannel: bool = False
    search: list[str] = field(default_factory=list)
    keyterms: list[str] = field(default_factory=list)
    replacements: list[tuple[str, str]] = field(default_factory=list)
    redact: bool = False
    encoding: str | None = None
    sample_rate: int | None = None
    channels: int = 1
    callback: str | None = None
    callback_method: str = "POST"
    tags: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveOptions:
    """What a live stream asks for beyond ListenOptions. Seconds; None for never."""

    listen: ListenOptions
    interim_results: bool = False
    endpointing: float | None = 0.01
    utterance_end: float | None = None
    vad_events: bool = False


def parse_live(query: Sequence[tuple[str, str]]) -> LiveOptions:
    """The options in the query of a live stream. Raises DeepgramError 400."""
    given = _Parameters(query)
    listen = parse(query)
    if given.text("model") is None:
        raise errors.bad_query("missing field `model`")
    utterance_end = given.integer("utterance_end_ms", low=1000, high=60_000)
    return LiveOptions(
        listen,
        interim_results=given.boolean("interim_results"),
        endpointing=_endpointing(given),
        utterance_end=None if utterance_end is None else utterance_end / 1000,
        vad_events=given.boolean("vad_events"),
    )


def parse(query: Sequence[tuple[str, str]]) -> ListenOptions:
    """The options in `query`, in which keys may repeat. Raises DeepgramError 400."""
    given = _Parameters(query)
    model = given.text("model") or "base-general"
    language = given.text("language") or "en"
    _check_model(model, language)
    if given.all("keywords") and model.startswith("nova-3"):
        raise errors.bad_query("keywords are not supported by nova-3, use keyterm")

    diarize_model = given.text("diarize_model")
    if diarize_model not in (None, "latest", "v1", "v2"):
        raise errors.bad_query(f"unknown variant `{diarize_model}` for diarize_model")
    smart_format = given.boolean("smart_format")
    # Deepgram formats paragraphs too when asked for smart formatting, and punctuates to tell them apart.
    paragraphs = given.boolean("paragraphs") or smart_format
    encoding = given.text("encoding")
    sample_rate = given.integer("sample_rate", low=1, high=384_000)
    if encoding is not None and encoding not in ENCODINGS:
        raise errors.bad_query(f"unknown variant `{encoding}` for encoding")
    if encoding in HEADERLESS and sample_rate is None:
        raise errors.bad_query("sample_rate is required with this encoding")

    return ListenOptions(
        model=model,
        language=language,
        detect_language=_detect_language(given),
        punctuate=given.boolean("punctuate") or paragraphs,
        paragraphs=paragraphs,
        utterances=given.boolean("utterances"),
        utt_split=given.number("utt_split", 0.8),
        diarize=given.boolean("diarize") or diarize_model is not None,
        multichannel=given.boolean("multichannel"),
        search=given.all("search"),
        keyterms=given.all("keyterm"),
        replacements=[_pair(value) for value in given.all("replace")],
        redact=any(value.lower() != "false" for value in given.all("redact")),
        encoding=encoding,
        sample_rate=sample_rate,
        channels=given.integer("channels", low=1, high=MAX_CHANNELS) or 1,
        callback=_callback(given.text("callback")),
        callback_method=_callback_method(given.text("callback_method")),
        tags=_tags(given.all("tag")),
        extra=_extra(given.all("extra")),
    )


class _Parameters:
    def __init__(self, query: Sequence[tuple[str, str]]) -> None:
        self.query = query

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name and value]

    def text(self, name: str) -> str | None:
        """The last value, as a repeated key that takes one value counts."""
        values = self.all(name)
        return values[-1] if values else None

    def boolean(self, name: str) -> bool:
        value = (self.text(name) or "false").lower()
        if value not in ("true", "false", "1", "0"):
            raise errors.bad_query(f"{name}: provided string was not `true` or `false`")
        return value in ("true", "1")

    def number(self, name: str, default: float) -> float:
        value = self.text(name)
        try:
            number = default if value is None else float(value)
        except ValueError:
            number = -1
        # Also refuses NaN and infinity, which float() reads.
        if not 0 <= number < float("inf"):
            raise errors.bad_query(f"{name}: invalid float literal")
        return number

    def integer(self, name: str, *, low: int, high: int) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
            raise errors.bad_query(f"{name}: invalid digit found in string or out of range")
        return int(value)


def _check_model(model: str, language: str) -> None:
    if model not in MODELS and not _is_uuid(model):
        raise errors.no_such_model()
    if language == "multi" and not model.startswith(("nova-2", "nova-3")):
        raise errors.no_such_model()
    if not re.fullmatch(r"multi|[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language):
        raise errors.no_such_model()


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _endpointing(given: _Parameters) -> float | None:
    value = (given.text("endpointing") or "true").lower()
    if value in ("true", "false"):
        return LiveOptions.endpointing if value == "true" else None
    milliseconds = given.integer("endpointing", low=0, high=60_000)
    return None if milliseconds is None else milliseconds / 1000


def _detect_language(given: _Parameters) -> bool:
    """`true`, or one or more languages to choose among."""
    codes = [value for value in given.all("detect_language") if value.lower() not in ("true", "false")]
    if any(not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", code) for code in codes):
        raise errors.bad_query("detect_language: not a boolean or a language")
    return bool(codes) or given.boolean("detect_language")


def _pair(value: str) -> tuple[str, str]:
    before, _, after = value.partition(":")
    return before, after


def _callback(url: str | None) -> str | None:
    """Deepgram also allows only ports 80, 443, 8080 and 8443; a sandbox on loopback has to take any."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise errors.bad_callback()
    return url


def _callback_method(method: str | None) -> str:
    method = (method or "POST").upper()
    if method not in ("POST", "PUT"):
        raise errors.bad_query(f"unknown variant `{method}` for callback_method")
    return method


def _tags(tags: list[str]) -> list[str]:
    if any(len(tag) > MAX_TAG_LENGTH for tag in tags):
        raise errors.bad_query(f"tag: longer than {MAX_TAG_LENGTH} characters")
    return tags


def _extra(pairs: list[str]) -> dict[str, str]:
    if any(len(pair) > MAX_EXTRA_LENGTH for pair in pairs):
        raise errors.bad_query(f"extra: longer than {MAX_EXTRA_LENGTH} characters")
    return dict(_pair(pair) for pair in pairs)
