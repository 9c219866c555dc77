"""What a purge would delete of a project now, by its policies or by others that are thought of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Sum

from jobs.companions import companions
from jobs.forgetting.retention import past_audio, past_transcripts
from jobs.models import Project


@dataclass(frozen=True, slots=True)
class Preview:
    """`results`: of live sessions. `oldest`: when the first of what would go came."""

    recordings: int
    bytes: int
    transcripts: int
    results: int
    oldest: datetime | None

    @property
    def is_empty(self) -> bool:
        return not (self.recordings or self.transcripts or self.results)

    def __str__(self) -> str:
        since = f", the oldest of {self.oldest:%Y-%m-%d}" if self.oldest else ""
        return (
            f"{self.recordings} recordings ({self.bytes / 1e6:,.1f} MB of audio), "
            f"{self.transcripts} transcripts, {self.results} results of live sessions{since}"
        )


def preview(project: Project, audio_days: int | None, transcript_days: int | None) -> Preview:
    """None: always kept."""
    audio: dict[str, Any]
    transcripts: dict[str, Any]
    audio = transcripts = {"count": 0, "first": None, "size": 0}
    results = 0
    if audio_days is not None:
        audio = past_audio(project, audio_days).aggregate(
            count=Count("pk"), first=Min("created_at"), size=Sum("size", default=0)
        )
    if transcript_days is not None:
        transcripts = past_transcripts(project, transcript_days).aggregate(
            count=Count("pk"), first=Min("created_at")
        )
        results = sum(companion.would_forget(project, transcript_days) for companion in companions())
    return Preview(
        recordings=audio["count"],
        bytes=audio["size"],
        transcripts=transcripts["count"],
        results=results,
        oldest=min(filter(None, (audio["first"], transcripts["first"])), default=None),
    )
