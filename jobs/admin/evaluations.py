"""Evaluations: how well runs did, over time and against each other, and the words that were wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.paginator import Page, Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from jobs.admin.charts import Bars, stacked
from jobs.admin.history import PageAdmin
from jobs.admin.look import display
from jobs.admin.wording import length
from jobs.audit import record_read
from jobs.models import EvaluatedRecording, EvaluationRun
from jobs.models.audit import Action
from jobs.quality.reports import compared, scored_in
from jobs.quality.scores import RATES, passages
from jobs.transcripts.options import to_query

RUNS_SHOWN = 30
BARS_AT_LEAST = 12
RECORDINGS_SHOWN = 25
KINDS = {"substitutions": "substituted", "deletions": "left out", "insertions": "added"}
# Bars are of whole numbers: errors in so many words.
WORDS = 10_000
NAMES = {
    "wer": "Word error rate",
    "cer": "Character error rate",
    "ser": "Recordings with an error",
}


@admin.register(EvaluationRun)
class EvaluationRunAdmin(PageAdmin):
    list_display = (
        "called",
        "manifest",
        "way",
        "tried",
        "noisy",
        "wer",
        "interval",
        "recordings",
        "created_at",
    )
    list_filter = ("created_at", "is_live", "project")
    list_select_related = ("project",)
    search_fields = ("name", "manifest")
    sortable_by = ()
    when_empty = "There are no evaluations yet: manage.py evaluate makes them."

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    # Columns

    @display(description="run")
    def called(self, run: EvaluationRun) -> str:
        return str(run)

    @display(description="way")
    def way(self, run: EvaluationRun) -> str:
        return way_of(run)

    @display(description="model")
    def tried(self, run: EvaluationRun) -> str:
        return str(run.options.get("model", ""))

    @display(description="noise")
    def noisy(self, run: EvaluationRun) -> str:
        return noise_of(run)

    @display(description="WER")
    def wer(self, run: EvaluationRun) -> str:
        return percent(run.scores["wer"]["value"]) if run.scores.get("recordings") else "unfinished"

    @display(description="95 %")
    def interval(self, run: EvaluationRun) -> str:
        return interval_of(run.scores["wer"]) if run.scores.get("recordings") else ""

    @display(description="recordings")
    def recordings(self, run: EvaluationRun) -> Any:
        return run.scores.get("recordings", "")

    # Pages

    def page(self, request: HttpRequest, run: EvaluationRun) -> HttpResponse:
        record_read(Action.TRANSCRIPT_VIEWED, request, run)
        others = EvaluationRun.objects.comparable(run).exclude(pk=run.pk)[:RUNS_SHOWN]
        before = next((other for other in others if str(other.pk) == request.GET.get("before")), None)
        context = {
            **self.admin_site.each_context(request),
            "title": str(run),
            "opts": EvaluationRun._meta,
            "run": run,
            "way": way_of(run),
            "noise": noise_of(run),
            "may_delete": self.has_delete_permission(request),
            "figures": _figures(run.scores),
            "tags": [(tag, _figures(scores)) for tag, scores in run.scores.get("tags", {}).items()],
            "over_time": _over_time(run),
            "kinds": [(kind, KINDS[kind], run.scores.get(kind)) for kind in KINDS],
            "others": [(other, _in_short(other)) for other in others],
            "before": before,
            "difference": before and _difference(before, run),
            "options": _options(run),
            **_recordings(run, before, request.GET.get("page", "")),
        }
        return TemplateResponse(request, "admin/jobs/evaluation.html", context)


def way_of(run: EvaluationRun) -> str:
    return "live" if run.is_live else "batch"


def noise_of(run: EvaluationRun) -> str:
    return f"{run.noise.rpartition('/')[2]} at {run.snr:g} dB" if run.noise else ""


def percent(share: float) -> str:
    return f"{share:.2%}"


def interval_of(rate: dict[str, float]) -> str:
    return f"{percent(rate['low'])} to {percent(rate['high'])}"


def _options(run: EvaluationRun) -> str:
    return ", ".join(f"{name} {value}" for name, value in to_query(run.options))


def _in_short(run: EvaluationRun) -> str:
    """To choose it by."""
    parts = (f"{run.created_at:%Y-%m-%d %H:%M}", run.name, way_of(run), noise_of(run), _options(run))
    return ", ".join(filter(None, parts))


def _figures(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    if not scores.get("recordings"):
        return []
    return [(NAMES[name], percent(scores[name]["value"]), interval_of(scores[name])) for name in RATES]


def _over_time(run: EvaluationRun) -> dict[str, Any]:
    """The latest runs of its kind, the oldest first, as a chart and as a list."""
    finished = [each for each in EvaluationRun.objects.like(run)[:RUNS_SHOWN] if each.scores["recordings"]]
    finished.reverse()
    return {
        "bars": _chart(finished),
        "highest": percent(max((each.scores["wer"]["value"] for each in finished), default=0.0)),
        "runs": [
            (each, percent(each.scores["wer"]["value"]), interval_of(each.scores["wer"]), _options(each))
            for each in reversed(finished)
        ],
    }


def _chart(finished: Sequence[EvaluationRun]) -> Bars:
    """A bar for each, as high as its WER, of the kinds of errors; few of them stand at the right."""
    columns = [
        Counter({kind: round(WORDS * run.scores[kind] / (run.scores["words"] or 1)) for kind in KINDS})
        for run in finished
    ]
    return stacked([Counter[str]()] * (BARS_AT_LEAST - len(columns)) + columns, KINDS)


def _difference(before: EvaluationRun, after: EvaluationRun) -> dict[str, str] | None:
    found = compared(scored_in(before), scored_in(after))
    if found is None:
        return None
    chance = "Chance alone may explain it."
    if found.worse >= 0.975 or found.worse <= 0.025:
        chance = "Chance alone does not explain it."
    return {
        "rates": f"{percent(found.first)} to {percent(found.second)}",
        "points": f"{100 * found.value:+.2f} points ({100 * found.low:+.2f} to {100 * found.high:+.2f})",
        "chance": chance,
        "recordings": str(found.recordings),
    }


def _recordings(run: EvaluationRun, before: EvaluationRun | None, number: str) -> dict[str, Any]:
    """A page of them, those that nothing came of first, and then the worst."""
    rows_before = before.recordings.scored() if before else EvaluatedRecording.objects.none()
    were = {row.source: percent(row.errors or 0.0) for row in rows_before.only("source", "errors")}
    rows = run.recordings.order_by("-error", F("errors").desc(nulls_first=True), "position")
    page: Page[EvaluatedRecording] = Paginator(rows, RECORDINGS_SHOWN).get_page(number)
    return {
        "page": page,
        "recordings": [
            {
                "row": row,
                "errors": "" if row.errors is None else percent(row.errors),
                "were": were.get(row.source, ""),
                "audio": length(row.seconds),
                "passages": [] if row.errors is None else passages(row.said, row.heard),
            }
            for row in page
        ],
    }
