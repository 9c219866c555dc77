"""What is done to many jobs at once: those that are ticked in the list, or all that match it.

All that match may be a million. So it is shown first how many they are, and they are then dealt with in steps
of a request each, in the order of their ids, by the page that asked for it (static/jobs/bulk.js; without
JavaScript by a button for each step). Each move is audited like that of a single job.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone

from jobs import lifecycle
from jobs.admin.history import BoundedChangeList
from jobs.admin.wording import length, title
from jobs.audit import audited, record
from jobs.batches.export import bundle
from jobs.ids import first_id, made_at
from jobs.models import AuditEntry, Priority, Project, Status, TranscriptionJob
from jobs.models.audit import Action
from jobs.models.queue import billed
from jobs.models.state import ENDED, OPEN
from jobs.prices import cost_of
from jobs.refusal import Refusal
from jobs.search import FOUND_AT_MOST
from jobs.transcripts.exports import FORMATS
from routing.regions import UnknownRegion

if TYPE_CHECKING:
    from jobs.admin.jobs import JobAdmin

# A step takes about a second.
STEP = 200
# Further than this the jobs of a status are not counted.
COUNTED_AT_MOST = 20_000
EXPORTED_AT_MOST = 10_000
NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Move:
    """`verb` asks for it, `done` tells of it; `rule` is why what is in no `possible` status is left.

    `transcribes`: it costs what transcribing costs, and is not for what has no audio any more.
    """

    verb: str
    done: str
    apply: Callable[[TranscriptionJob], None]
    possible: Collection[Status]
    action: Action
    rule: str
    transcribes: bool = False

    def of(self, jobs: QuerySet[TranscriptionJob]) -> QuerySet[TranscriptionJob]:
        """Those that can be moved."""
        possible = jobs.filter(status__in=self.possible)
        return possible.filter(recording__audio_deleted_at=None) if self.transcribes else possible


def _to(priority: Priority) -> Move:
    return Move(
        f"Give {priority.label} priority to",
        f"given {priority.label} priority",
        partial(lifecycle.change, priority=priority),
        (Status.QUEUED, Status.WAITING),
        Action.JOB_CHANGED,
        "only what is queued or waits has a place in line",
    )


MOVES = {
    "requeue": Move(
        "Requeue",
        "requeued",
        lifecycle.requeue,
        ENDED,
        Action.JOB_REQUEUED,
        "only what has ended can be requeued",
        transcribes=True,
    ),
    "cancel": Move(
        "Cancel",
        "cancelled",
        lifecycle.cancel,
        OPEN,
        Action.JOB_CANCELLED,
        "only what has not ended can be cancelled",
    ),
    **{f"prioritise_{priority.label}": _to(priority) for priority in Priority},
}


@dataclass(slots=True)
class Again:
    """What transcribing jobs once more comes to: of those without audio nothing."""

    without_audio: int = 0
    seconds: float = 0.0
    cost: Decimal | None = None

    @classmethod
    def of(cls, jobs: QuerySet[TranscriptionJob]) -> Self:
        """Of the newest so many: of old ones the audio may be deleted."""
        again, billed_by = cls(), defaultdict[str | None, float](float)
        newest = jobs.order_by("-pk").annotate(model=KT("options__model"), billed=billed())
        columns = ("recording__audio_deleted_at", "duration", "model", "billed")
        for deleted_at, seconds, model, is_billed in newest.values_list(*columns)[:COUNTED_AT_MOST]:
            if deleted_at:
                again.without_audio += 1
            else:
                again.seconds += seconds or 0.0
                billed_by[model] += is_billed or 0.0
        costs = [
            cost for model, seconds in billed_by.items() if (cost := cost_of(seconds, model)) is not None
        ]
        again.cost = sum(costs, Decimal()) if costs else None
        return again

    @property
    def in_words(self) -> str:
        about = f"{length(self.seconds)} of audio to be transcribed"
        return about if self.cost is None else f"{about}, about {self.cost:,.2f} {settings.PRICE_CURRENCY}"


@dataclass(slots=True)
class Moved:
    """How many jobs were moved, and which were not and why."""

    count: int = 0
    refused: list[tuple[TranscriptionJob, str]] = field(default_factory=list)

    def tell(self, request: HttpRequest, move: Move) -> None:
        if self.count:
            messages.success(request, f"{jobs_were(self.count)} {move.done}.")
        if self.refused:
            why = named(self.refused, lambda pair: f"{title(pair[0])} ({pair[1]})")
            messages.warning(request, f"{jobs_were(len(self.refused))} not {move.done}: {why}")


def move_each(
    admin: JobAdmin, request: HttpRequest, jobs: Iterable[TranscriptionJob], move: Move, **details: str
) -> Moved:
    """`details` are for the audit log's entries."""
    moved = Moved()
    for job in jobs:
        if job.status not in move.possible:
            moved.refused.append((job, f"{job.status}: {move.rule}"))
            continue
        try:
            with audited(move.action, request, job, **details):
                move.apply(job)
        except Refusal as error:
            moved.refused.append((job, error.message.rstrip(".")))
        except TranscriptionJob.DoesNotExist:
            moved.refused.append((job, "it was deleted meanwhile"))
        except UnknownRegion:
            moved.refused.append((job, f"its region {job.region} is gone: upload it again"))
        else:
            admin.log_change(request, job, move.done.capitalize())
            moved.count += 1
    return moved


def preview(
    admin: JobAdmin, request: HttpRequest, jobs: QuerySet[TranscriptionJob], name: str
) -> HttpResponse:
    """How many jobs match, and how many of them would be moved (or exported), to be confirmed."""
    move, listed = MOVES.get(name), _list(admin, request)
    possible: Collection[str] = move.possible if move else (Status.COMPLETED,)
    counts = [(status, _counted(jobs.filter(status=status)), status in possible) for status in Status]
    again = Again.of(jobs.filter(status__in=possible)) if move and move.transcribes else Again()
    concerned = [count for _, count, is_possible in counts if is_possible]
    context = {
        **admin.admin_site.each_context(request),
        "title": f"{move.verb if move else 'Export'} all jobs that match",
        "opts": TranscriptionJob._meta,
        "name": name,
        "query": request.GET.urlencode(),
        "applied": listed.applied(),
        "found_at_most": FOUND_AT_MOST if listed.query else None,
        "counts": [each for each in counts if each[1]],
        "concerned": sum(concerned) - again.without_audio,
        "is_more": COUNTED_AT_MOST in concerned,
        "is_measured_in_part": sum(concerned) >= COUNTED_AT_MOST,
        "again": again,
        "capped": COUNTED_AT_MOST,
        "rule": move.rule if move else "only what is completed has a transcript",
        # What comes later was not counted.
        "until": first_id(timezone.now()),
    }
    return TemplateResponse(request, "admin/jobs/bulk.html", context)


def step(admin: JobAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """Move the next of those that match the query, and tell how far it is."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if name not in MOVES:
        raise Http404
    move, after, until = MOVES[name], _id(request, "after"), _id(request, "until")
    jobs = move.of(_matching(admin, request)).filter(pk__gt=after, pk__lt=until)
    if move.transcribes:
        # A step whose answer was lost is asked for again: what it requeued may have ended since.
        jobs = jobs.filter(finished_at__lt=made_at(until))
    some = list(jobs.select_related("project", "recording").order_by("pk")[:STEP])
    moved, is_over = move_each(admin, request, some, move, asked=str(until)), len(some) < STEP
    # At the end also what was done by a step whose answer was lost.
    done = _audited(request, move, until) if is_over else _number(request, "done") + moved.count
    context = {
        **admin.admin_site.each_context(request),
        "title": move.verb,
        "opts": TranscriptionJob._meta,
        "name": name,
        "move": move,
        "query": request.GET.urlencode(),
        "total": _number(request, "total"),
        "seen": _number(request, "seen") + len(some),
        "done": done,
        "told": f"{jobs_were(done)} {move.done}" if done else "",
        "after": some[-1].pk if some else after,
        "until": until,
        "is_over": is_over,
        "refused": [(job, title(job), why) for job, why in moved.refused[:NAMED_AT_MOST]],
        "left": _number(request, "left") + len(moved.refused),
    }
    by_script = request.headers.get("X-Requested-With") == "XMLHttpRequest"
    return render(request, f"admin/jobs/{'_bulk_step' if by_script else 'bulk_step'}.html", context)


def export(admin: JobAdmin, request: HttpRequest) -> HttpResponseBase:
    """The transcripts of all that match, as one ZIP with a manifest, written while it is sent."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    jobs = _matching(admin, request).filter(status=Status.COMPLETED, pk__lt=_id(request, "until"))
    if jobs.reach(EXPORTED_AT_MOST + 1):
        messages.error(request, f"More than {EXPORTED_AT_MOST} are not exported at once: filter the list.")
        return preview(admin, request, _matching(admin, request), "export")
    _record_export(request, jobs)
    return bundle(jobs, "transcripts", [*FORMATS])


def _record_export(request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> None:
    """An entry for each project, since its operators see no other; without the words that were looked for."""
    filters = request.GET.copy()
    searched = bool(filters.pop(SEARCH_VAR, None))
    for project, number in Counter(jobs.values_list("project", flat=True)).items():
        record(
            Action.TRANSCRIPT_EXPORTED,
            request,
            project=Project(pk=project),
            jobs=number,
            filter=filters.urlencode()[:500],
            searched=searched,
        )


def _audited(request: HttpRequest, move: Move, asked: UUID) -> int:
    """How many jobs were moved by what was confirmed then."""
    since = AuditEntry.objects.filter(pk__gte=asked, action=move.action, user=request.user.pk)
    # One whose step was asked for again has two.
    return since.filter(details__asked=str(asked)).values("object_id").distinct().count()


def _matching(admin: JobAdmin, request: HttpRequest) -> Any:
    return _list(admin, request).get_queryset(request)


def _list(admin: JobAdmin, request: HttpRequest) -> BoundedChangeList:
    return cast(BoundedChangeList, admin.get_changelist_instance(request))


def _counted(jobs: QuerySet[TranscriptionJob]) -> int:
    # In the list's order, for which there is an index of what it filters by: no row is read.
    return jobs.order_by("-pk")[:COUNTED_AT_MOST].count()


def _id(request: HttpRequest, name: str) -> UUID:
    try:
        given = UUID(request.POST.get(name) or "0" * 32)
        made_at(given)
    except ValueError:
        raise Http404 from None
    return given


def _number(request: HttpRequest, name: str) -> int:
    given = request.POST.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else 0


def jobs_were(count: int) -> str:
    return "1 job was" if count == 1 else f"{count:,} jobs were"


def named(items: list[Any], name: Callable[[Any], str]) -> str:
    rest = len(items) - NAMED_AT_MOST
    return "; ".join(map(name, items[:NAMED_AT_MOST])) + (f"; and {rest} more." if rest > 0 else ".")
