"""How states, errors, choices and histories are put to people. Pure: rows and codes in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.estimates import Span
from jobs.models import Recording, Status, TranscriptionJob
from jobs.timeline import Entry
from routing.addresses import without_query

# The label's colour in django-unfold.
STATUS_COLOURS = {
    "queued": "info",
    "running": "primary",
    "waiting": "warning",
    "completed": "success",
    "failed": "danger",
    "cancelled": "default",
    "dead": "danger",
}

# What a status means to who looks at a job; where its error is the reason of it, that says more.
_MEANINGS = {
    Status.QUEUED: "It is in line for a worker.",
    Status.RUNNING: "It is being transcribed.",
    Status.COMPLETED: "Its transcript is below.",
    Status.CANCELLED: "Somebody cancelled it. Requeue it to have it transcribed.",
}

# What the job's error is the reason of; in any other status it is that of an earlier attempt.
_EXPLAINED_BY_ERROR = (Status.WAITING, Status.FAILED, Status.DEAD)

# What an error code means, and what the reader can do about it.
ERRORS = {
    "provider_rate_limited": (
        "The provider has too many requests of ours at once",
        "Nothing: it is asked again by itself. If it happens often, lower WORKER_CONCURRENCY.",
    ),
    "provider_error": (
        "The provider had an error of its own",
        "It was retried as often as allowed. Requeue the job when the provider's status page is green.",
    ),
    "provider_timeout": (
        "The provider did not answer in time",
        "Requeue the job. A very long recording is better split into parts.",
    ),
    "provider_unreachable": (
        "The provider could not be reached",
        "Check the network and the region's address, then requeue the job.",
    ),
    "provider_unauthorized": (
        "The provider does not accept our key",
        "Have whoever runs the service correct the region's API key, then requeue the job.",
    ),
    "provider_payment_required": (
        "The provider's account has no credit left",
        "Have the account topped up, then requeue the job.",
    ),
    "provider_forbidden": (
        "Our key may not do this at the provider",
        "Choose another model, or have the key's permissions extended, then requeue the job.",
    ),
    "provider_rejected": (
        "The provider refused the request",
        "Its words say why. Requeue the job with other options.",
    ),
    "provider_too_large": (
        "The recording is too large for the provider",
        "Split or compress it and upload the parts.",
    ),
    "provider_unsupported_media": (
        "The provider cannot read this kind of audio",
        "Convert it to FLAC or MP3 and upload it again.",
    ),
    "provider_malformed_answer": (
        "The provider's answer could not be read",
        "Requeue the job; if it happens again, tell the provider the request id.",
    ),
    "provider_answer_too_large": (
        "The provider's answer is too large",
        "Requeue the job with fewer options, or split the recording.",
    ),
    "audio_unreadable": (
        "The stored recording could not be read",
        "Check that the storage is there, then requeue the job.",
    ),
    "url_not_found": (
        "There is nothing at the URL",
        "Check the URL, or upload the file.",
    ),
    "url_refused": (
        "The URL's server does not hand the audio out",
        "Open the URL without being logged in anywhere; if it works, requeue the job, else upload the file.",
    ),
    "url_redirects": (
        "The URL leads from one address to the next",
        "Submit the address where it ends, or upload the file.",
    ),
    "url_too_large": (
        "The URL's audio is larger than is accepted",
        "Split or compress it and upload the parts.",
    ),
    "url_encoded": (
        "The URL's server compresses the audio",
        "Have it stored as it is, or upload the file.",
    ),
    "url_unreachable": (
        "The URL's server could not be reached",
        "Check the URL and that its server is up, then requeue the job.",
    ),
    "url_timeout": (
        "The URL's server did not send the audio in time",
        "Requeue the job when the server is faster, or upload the file.",
    ),
    "url_too_slow": (
        "The URL's server sends the audio too slowly",
        "Requeue the job when the server is faster, or upload the file.",
    ),
    "url_server_error": (
        "The URL's server had an error of its own",
        "Requeue the job when that server works again, or upload the file.",
    ),
    "url_busy": (
        "The URL's server has too many requests",
        "Nothing: it is asked again by itself.",
    ),
    "url_address": (
        "The URL leads to a private address",
        "Upload the file; or whoever runs the service sets FETCH_ALLOW_PRIVATE.",
    ),
    "unsupported_media": (
        "It is no recording that can be read",
        "Check that the URL is the audio's own and not a page about it, or upload the file.",
    ),
    "corrupt_media": (
        "The recording is damaged or incomplete",
        "Put the whole file there and requeue the job, or upload it.",
    ),
    "not_stored": (
        "The audio could not be stored",
        "Check that the storage is there and has room, then requeue the job.",
    ),
    "lease_lost": (
        "The worker that ran it disappeared",
        "Nothing: another worker takes the job over.",
    ),
    "killed_its_worker": (
        "It brought its workers down, even one that it had to itself",
        "Do not requeue it as it is: convert the recording to FLAC or WAV and upload that.",
    ),
    "deadline_exceeded": (
        "Its deadline passed before it could be transcribed",
        "See on the dashboard whether workers are alive, then requeue the job.",
    ),
}

_OUTCOMES = {
    "completed": ("Transcribed", "success"),
    "retried": ("Failed, to be tried again", "warning"),
    "deferred": ("Put off", "warning"),
    "failed": ("Failed", "danger"),
    "cancelled": ("Cancelled while it ran", "default"),
    "released": ("Given back by a worker that was stopping", "default"),
    "lost": ("Lost with its worker", "warning"),
    "crashed": ("Killed its worker", "danger"),
}


def error_in_words(code: str) -> str:
    return ERRORS[code][0] if code in ERRORS else code.replace("_", " ").capitalize()


def advice(code: str) -> str:
    return ERRORS[code][1] if code in ERRORS else "Requeue the job; if it fails again, change its options."


def title(job: TranscriptionJob) -> str:
    """The recording's file name or the URL; without either, the end of the job's id tells it from others."""
    called = (job.recording and job.recording.filename) or without_query(job.url)
    return called or f"recording {short_id(job)}"


def short_id(row: TranscriptionJob | Recording) -> str:
    """Its end: the beginning of an id is the time, which rows that came together share."""
    return row.pk.hex[-8:]


def reason(job: TranscriptionJob) -> str:
    """Why it stands as it does, where its status does not say that."""
    return error_in_words(job.error_code) if job.error_code and job.status in _EXPLAINED_BY_ERROR else ""


def meaning(job: TranscriptionJob) -> str:
    """What its status means, where no reason has to say that."""
    return _MEANINGS.get(Status(job.status), "")


def due(expected: datetime | None, now: datetime) -> str:
    """When something that runs should be done."""
    if expected is None:
        return ""
    seconds = (expected - now).total_seconds()
    return f"It should be done {until(seconds)}." if seconds > 0 else "It takes longer than most do."


def took(job: TranscriptionJob) -> str:
    """From its first claim to the outcome; nothing where running did not end it."""
    given_up = job.status == Status.CANCELLED or job.error_code == "deadline_exceeded"
    if given_up or job.started_at is None or job.finished_at is None:
        return ""
    return span((job.finished_at - job.started_at).total_seconds())


def length(seconds: float | None) -> str:
    """0:07, 12:34 or 1:02:03; a dash for what is unknown."""
    if seconds is None:
        return "–"  # noqa: RUF001
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def span(seconds: float) -> str:
    """A stretch of time in one unit and a half: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for unit, size, smaller, step in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // step
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def stretch(left: Span) -> str:
    """How long something may take: "2 min to 5 min"."""
    if left.most < 1:
        return "less than a second"
    least, most = span(left.least), span(left.most)
    return least if least == most else f"{least} to {most}"


def until(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds > 0 else "now"


def policy_in_words(policy: Mapping[str, Any]) -> str:
    """What the project had the provider do (Project.policy)."""
    trains = "may not" if policy["mip_opt_out"] else "may"
    leaves_out = f", and leaves out {', '.join(policy['redact'])}" if policy["redact"] else ""
    return f"By the project's policy the provider {trains} train its models with it{leaves_out}."


def receipt_in_words(receipt: Mapping[str, Any], run: int, region: str) -> list[str]:
    """How mode and region were chosen, in sentences; empty without a receipt. The job is in `region` now.

    The choice is made when a job is submitted, so it is that of its first run in any later one too.
    """
    if not receipt:
        return []
    asked = receipt.get("requested_mode", "auto")
    first = "This is how run 1 was sent its way. What is requeued always goes through the queue."
    sentences = [
        first if run > 1 else "",
        f"Asked for: {asked}. Chosen: {receipt.get('mode', asked)}, by the rule “{receipt.get('rule', '')}”.",
        str(receipt.get("reason", "")),
    ]
    if receipt.get("alternatives"):
        sentences.append(f"It could also have run {' or '.join(receipt['alternatives'])}.")
    sentences.append(f"Region: {receipt.get('region', '')}. {receipt.get('region_reason', '')}")
    if receipt.get("region", region) != region:
        sentences.append(f"It was moved to {region} since: {receipt['region']} could not do its work then.")
    if receipt.get("policy"):
        sentences.append(policy_in_words(receipt["policy"]))
    if receipt.get("duplicate_of"):
        sentences.append(f"The very same audio was submitted before, as job {receipt['duplicate_of']}.")
    return [sentence.strip() for sentence in sentences if sentence.strip()]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the timeline; `tone` is a label's colour, `run` is given where a new run begins."""

    at: datetime
    took: str
    title: str
    details: list[str]
    tone: str
    run: int


def line(entry: Entry) -> Line:
    title, details, tone = _WORDS[entry["kind"]](entry["details"])
    ended_at = entry["ended_at"]
    took = span((ended_at - entry["at"]).total_seconds()) if ended_at else ""
    shown = [detail for detail in details if detail]
    return Line(entry["at"], took, title, shown, tone, entry["run"])


_Words = tuple[str, list[str], str]


def _created(details: Mapping[str, Any]) -> _Words:
    return "Accepted", [f"in region {details['region']}"], "info"


def _attempt(details: Mapping[str, Any]) -> _Words:
    title, tone = _OUTCOMES.get(details["outcome"], (details["outcome"], "default"))
    answered = f"answered {details['status_code']}" if details["status_code"] else ""
    where = ", ".join(
        part for part in (f"in {details['region']}", f"by {details['worker']}", answered) if part
    )
    error = details["error_code"]
    return (
        title,
        [
            where,
            f"provider's request id {details['request_id']}" if details["request_id"] else "",
            f"{error_in_words(error)} ({error}). {details['error_message']}" if error else "",
            "No answer came although the request went out: it may be billed."
            if details["outcome_unknown"]
            else "",
            "" if details["counted"] else "Not counted as an attempt.",
        ],
        tone,
    )


def _running(details: Mapping[str, Any]) -> _Words:
    return "Running", [f"in {details['region']}, by {details['worker']}"], "primary"


def _waiting(details: Mapping[str, Any]) -> _Words:
    until = f"until {details['until']:%Y-%m-%d %H:%M:%S} UTC" if details["until"] else ""
    return "Waiting", [error_in_words(details["error_code"]), until], "warning"


def _transcript(details: Mapping[str, Any]) -> _Words:
    if details["corrected"]:
        return "Transcript corrected", [f"version {details['version']}, by {details['author']}"], "success"
    return "Transcript stored", [f"version {details['version']}, the provider's"], "success"


def _event(details: Mapping[str, Any]) -> _Words:
    return f"Event {details['type']}", [], "default"


def _delivery(details: Mapping[str, Any]) -> _Words:
    code, took_it = details["status_code"], details["took_it"]
    answer = f"answered {code}" if code else details["error"]
    url, seconds = without_query(details["url"]), span(details["seconds"])
    detail = f"to {url}, attempt {details['number']}, {answer}, {seconds}"
    return (
        ("Webhook delivered" if took_it else "Webhook failed"),
        [detail],
        "success" if took_it else "danger",
    )


def _next_delivery(details: Mapping[str, Any]) -> _Words:
    return "Webhook due", [f"to {without_query(details['url'])}, attempt {details['number']}"], "info"


_WORDS = {
    "created": _created,
    "attempt": _attempt,
    "running": _running,
    "waiting": _waiting,
    "transcript": _transcript,
    "event": _event,
    "delivery": _delivery,
    "next_delivery": _next_delivery,
}
