"""What is ours on the wire: messages for resumable clients (docs/live.md), and a last one made true."""

from __future__ import annotations

from datetime import UTC, datetime

from streaming.rules.messages import parse, write

# Close codes of ours; and those of RFC 6455, 7.4.1, and IANA's registry.
ENDED, MOVED, TOO_SLOW, REPLACED = 1000, 4000, 4008, 4009
UNACCEPTABLE, TOO_BIG, RESTARTING = 1008, 1009, 1012


def session(session_id: str, token: str, *, audio_offset: int, seq: int, exact_replay: bool | None) -> str:
    return write(
        {
            "type": "Session",
            "session_id": session_id,
            "token": token,
            "audio_offset": audio_offset,
            "seq": seq,
            "exact_replay": exact_replay,
        }
    )


def ack(audio_bytes: int, seq: int) -> str:
    return write({"type": "Ack", "audio_bytes": audio_bytes, "seq": seq})


def status(state: str) -> str:
    """`state`: connected, reconnecting, moving."""
    return write({"type": "Status", "state": state})


def gap(start: float, end: float) -> str:
    return write({"type": "Gap", "start": round(start, 6), "end": round(end, 6)})


def result_fields(seq: int, connection: int, *, late: bool) -> str:
    """What every result carries, as fields to be added to it."""
    fields = f'"seq":{seq},"connection":{connection}'
    return f'{fields},"late":true' if late else fields


def metadata(
    last: str | None, *, request_id: str, created_at: datetime | None, duration: float, channels: int
) -> str:
    """Deepgram's Metadata for the whole session. `last`: what the last connection said, if it did."""
    message = parse(last) if last is not None else {}
    if created_at is not None:
        created = created_at.astimezone(UTC).isoformat(timespec="milliseconds")
        message["created"] = created.replace("+00:00", "Z")
    return write(
        {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "created": "",
            **message,
            "request_id": request_id,
            "sha256": "incomplete",  # as Deepgram says when it has not seen all of the audio
            "duration": round(duration, 6),
            "channels": channels,
        }
    )
