"""Measure how well recordings are recognised whose words are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.audit import record
from jobs.intake import Order
from jobs.management.database import require_tables
from jobs.management.options import add_options, options_of
from jobs.models import ApiKey, EvaluatedRecording, EvaluationRun, Project
from jobs.models.audit import Action
from jobs.prices import cost_of
from jobs.quality import manifest, reports, runs
from jobs.quality.batch import transcribed
from jobs.quality.live import streamed
from jobs.quality.manifest import Manifest, ManifestError
from jobs.quality.runs import Piece
from jobs.quality.scores import Difference
from jobs.quality.sound import Noise, Undecodable, samples
from jobs.running.alone import is_alone
from jobs.transcripts.options import DEFAULTS
from routing.regions import UnknownRegion, region_named
from streaming.models import LiveSession
from streaming.rules.parameters import FORWARDED
from transcribe_project.sandbox_child import SandboxChild

FAILS, UNKNOWN, INTERRUPTED = 1, 2, 130
ACTOR = "manage.py evaluate"
# Ours to set: how the audio is sent.
OWN_OPTIONS = {"encoding", "sample_rate", "channels", "multichannel"}
KEY_LIVES = timedelta(days=7)
# Beyond it there is no noise to be heard, or nothing else.
MOST_DB = 100


class Command(BaseCommand):
    help = (
        "Transcribes recordings whose words are known and tells how many were wrong. Exit code 0: done, and "
        "no worse than the baseline. 1: worse. 2: that cannot be told, since something failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="JSON Lines, or a JSON array")
        parser.add_argument("--live", action="store_true", help="Stream it to a server, as it is spoken.")
        parser.add_argument(
            "--server", default=settings.PUBLIC_URL, metavar="URL", help="that --live goes to (%(default)s)"
        )
        add_options(parser)
        parser.add_argument(
            "--versus",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="An option of a second run, to compare with the first; the others stay. Can be repeated.",
        )
        parser.add_argument("--noise", metavar="FILE", help="A recording to mix in.")
        parser.add_argument("--snr", type=float, metavar="DB", help="How much softer the noise is.")
        parser.add_argument(
            "--baseline", metavar="RUN", help="To compare with: a run's id or name, or a report's file."
        )
        parser.add_argument(
            "--max-increase", type=float, metavar="POINTS", help="Fail if the WER is that much higher."
        )
        parser.add_argument("--name", default="", help="What the run is called.")
        parser.add_argument("--project", default="Evaluation", help="Made if there is none of this name.")
        parser.add_argument("--region", default="", help="That has to do it; not of --live.")
        parser.add_argument("--at-once", type=int, default=4, metavar="N", help="recordings (%(default)s)")
        parser.add_argument("--resume", metavar="RUN", help="Go on with it, as it was begun.")
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--dry-run", action="store_true", help="Only check, and tell what it costs.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            faults = self._evaluate(options)
        except CommandError as error:
            raise CommandError(str(error), returncode=UNKNOWN) from None
        if faults:
            raise CommandError(faults, returncode=FAILS)

    def _evaluate(self, options: dict[str, Any]) -> str:
        """What is worse than it may be, or nothing."""
        require_tables()
        _check(options)
        self.options = options
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        resumed = options["resume"]
        planned = [_begun(resumed)] if resumed else list(_planned(options))
        first = planned[0]
        listed = self._listed(only_files=first.is_live or bool(first.noise))
        if resumed and first.manifest_digest != listed.digest:
            raise CommandError("The manifest is not the one that this run was begun with.")
        before = _baseline(options["baseline"])
        if before is not None and not reports.share(before, listed):
            raise CommandError("The baseline has none of these recordings, or other words for them.")
        noise = _noise(first)
        self._tell_cost(listed, planned)
        if options["dry_run"]:
            return ""
        if not resumed:
            project = Project.objects.shared(options["project"])
            for run in planned:
                run.project = project
        done = [self._carry_out(run, listed, noise) for run in planned]
        after = reports.scored_in(done[-1])
        if len(done) > 1:
            before = reports.scored_in(done[0])
        difference = None if before is None else reports.compared(before, after)
        if before is not None and difference is None:
            raise CommandError("Nothing was heard that the baseline has: there is nothing to compare.")
        limit = options["max_increase"]
        is_worse = limit is not None and difference is not None and difference.value > limit / 100
        self._tell(done, difference, is_worse)
        if failed := [run for run in done if run.scores["failed"]]:
            told = (f"{run.scores['failed']} failed; --resume {run.pk} tries them again." for run in failed)
            raise CommandError("\n".join(told))
        return f"The WER rose by more than --max-increase {limit:g}." if is_worse else ""

    def _listed(self, *, only_files: bool) -> Manifest:
        try:
            return runs.measured(manifest.read(self.options["manifest"]), only_files=only_files)
        except ManifestError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{self.options['manifest']}: {error.strerror or error}") from None

    def _tell_cost(self, listed: Manifest, planned: Sequence[EvaluationRun]) -> None:
        """Before any of it is sent."""
        sent = [runs.to_send(run, listed) for run in planned]
        seconds = [sum(entry.seconds or 0.0 for entry in entries) for entries in sent]
        told = [f"{sum(map(len, sent))} recordings", f"{sum(seconds) / 60:.1f} minutes"]
        if unknown := sum(entry.seconds is None for entries in sent for entry in entries):
            told.append(f"{unknown} of unknown length")
        models = (str(run.options.get("model", "")) for run in planned)
        costs = [cost_of(each, model) for each, model in zip(seconds, models, strict=True)]
        known = [cost for cost in costs if cost is not None]
        if settings.USES_SANDBOX:
            told.append("for nothing, since the provider is the sandbox")
        elif len(known) == len(costs):
            told.append(f"for {sum(known)} {settings.PRICE_CURRENCY}")
        else:
            told.append("at a price that PRICES does not tell")
        self.console.print(f"To be sent: {', '.join(told)}.")

    def _carry_out(self, run: EvaluationRun, listed: Manifest, noise: Noise | None) -> EvaluationRun:
        if run._state.adding:
            run = runs.begin(listed, run)
        pieces = runs.left(run, listed)
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        try:
            with self._heard(run, pieces, noise) as heard, progress:
                task = progress.add_task(str(run.options.get("model", "")), total=len(pieces))
                for recording in runs.score(heard):
                    progress.advance(task)
                    if recording.error:
                        named, why = escape(recording.source), escape(recording.error)
                        progress.console.print(f"[red]{named}[/]: {why}")
        except KeyboardInterrupt:
            kept = f"{run.recordings.scored().count()} of {len(listed.entries)} are kept"
            self.stderr.write(f"Interrupted; {kept}. To go on: evaluate MANIFEST --resume {run.pk}")
            sys.exit(INTERRUPTED)
        except UnknownRegion as error:
            raise CommandError(str(error)) from None
        runs.finish(run)
        return run

    @contextmanager
    def _heard(
        self, run: EvaluationRun, pieces: list[Piece], noise: Noise | None
    ) -> Iterator[Iterator[EvaluatedRecording]]:
        """The recordings as they come, while what that takes is there."""
        with ExitStack() as stack:
            heard = (self._live if run.is_live else self._as_jobs)(stack, run, pieces, noise)
            # Whoever is interrupted ends the sessions that go on.
            yield stack.enter_context(closing(heard))

    def _as_jobs(
        self, stack: ExitStack, run: EvaluationRun, pieces: list[Piece], noise: Noise | None
    ) -> Generator[EvaluatedRecording]:
        alone = is_alone()
        if alone and settings.USES_SANDBOX:
            sandbox = SandboxChild()
            stack.callback(sandbox.stop)
            sandbox.wait_until_ready()
        order = Order(project=run.project, options={}, mode="sync" if alone else "async", region=run.region)
        return transcribed(pieces, order, noise, at_once=self.options["at_once"], alone=alone)

    def _live(
        self, stack: ExitStack, run: EvaluationRun, pieces: list[Piece], noise: Noise | None
    ) -> Generator[EvaluatedRecording]:
        key, text = ApiKey.objects.issue(
            run.project, "evaluation", scopes=["write"], expires_at=timezone.now() + KEY_LIVES
        )
        record(Action.KEY_ISSUED, about=key, actor=ACTOR)
        stack.callback(key.revoke)
        sessions = LiveSession.objects.filter(key=key)

        def region_of(request_id: str) -> str:
            return sessions.filter(request_id=request_id).values_list("region", flat=True).first() or ""

        server, at_once = self.options["server"], self.options["at_once"]
        return streamed(pieces, server, text, noise, at_once=at_once, region_of=region_of)

    def _tell(self, done: list[EvaluationRun], difference: Difference | None, is_worse: bool) -> None:
        if self.options["format"] == "json":
            found = {
                "runs": [reports.report(run) for run in done],
                "difference": difference and difference._asdict(),
                "max_increase": self.options["max_increase"],
                "regression": is_worse,
            }
            self.stdout.write(json.dumps(found, indent=1, ensure_ascii=False))
            return
        for run in done:
            for line in reports.lines(run):
                self.stdout.write(line)
            page = reverse("admin:jobs_evaluationrun_change", args=(run.pk,))
            self.stdout.write(f"  {settings.PUBLIC_URL}{page}")
        if difference is not None:
            self.stdout.write(reports.in_words(difference))


def _check(options: dict[str, Any]) -> None:
    """CommandError for what does not go together."""
    wrong = {
        "--noise and --snr go together.": (options["noise"] is None) != (options["snr"] is None),
        "--versus makes its own baseline: leave one out.": options["versus"] and options["baseline"],
        "--max-increase needs --baseline or --versus.": options["max_increase"] is not None
        and not (options["baseline"] or options["versus"]),
        "--at-once is one at the least.": options["at_once"] < 1,
        f"--snr is a number of decibels from -{MOST_DB} to {MOST_DB}.": options["snr"] is not None
        and not abs(options["snr"]) <= MOST_DB,
        "--max-increase is a number of points, 0 or more.": options["max_increase"] is not None
        and not 0 <= options["max_increase"] <= 100,
        "--project has 1 to 100 characters.": not 1 <= len(options["project"]) <= 100,
        "--server is an http or https URL.": urlsplit(options["server"]).scheme not in ("http", "https"),
        "--name has 100 characters at the most.": len(options["name"]) > 100,
        "--live goes where its project may: set its residency, not --region.": options["live"]
        and options["region"],
        "--resume goes on as it was begun, with other options in another run.": options["resume"]
        and any(options[name] for name in ("live", "option", "versus", "noise", "region", "name")),
    }
    if told := [message for message, is_so in wrong.items() if is_so]:
        raise CommandError("\n".join(told))


def _begun(name: str) -> EvaluationRun:
    run = EvaluationRun.objects.called(name)
    if run is None:
        raise CommandError(f"There is no run {name}.")
    return run


def _planned(options: dict[str, Any]) -> Iterator[EvaluationRun]:
    """The runs that are asked for, not begun yet."""
    read = _live_options if options["live"] else options_of
    sets = [options["option"]]
    if versus := options["versus"]:
        replaced = {pair.partition("=")[0] for pair in versus}
        sets.append([pair for pair in options["option"] if pair.partition("=")[0] not in replaced] + versus)
    if options["region"]:
        try:
            region_named(options["region"])
        except UnknownRegion as error:
            raise CommandError(str(error)) from None
    for pairs in sets:
        yield EvaluationRun(
            name=options["name"],
            is_live=options["live"],
            options=read(pairs),
            region=options["region"],
            noise=options["noise"] or "",
            snr=options["snr"],
        )


def _live_options(pairs: list[str]) -> dict[str, Any]:
    given: dict[str, list[str]] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in FORWARDED - OWN_OPTIONS:
            raise CommandError(f"{name}: live audio has no such option, or it is not yours to choose.")
        given.setdefault(name, []).append(value)
    return dict(DEFAULTS) | {name: values if len(values) > 1 else values[0] for name, values in given.items()}


def _noise(run: EvaluationRun) -> Noise | None:
    if not run.noise or run.snr is None:
        return None
    try:
        found = samples(Path(run.noise))
    except (Undecodable, OSError) as error:
        raise CommandError(f"--noise: {error}") from None
    if not any(found):
        raise CommandError("--noise: it is silent.")
    return Noise(found, run.snr)


def _baseline(named: str | None) -> reports.Scored | None:
    if not named:
        return None
    if Path(named).is_file():
        try:
            return reports.read(Path(named))
        except (reports.NoReport, OSError) as error:
            raise CommandError(str(error)) from None
    run = EvaluationRun.objects.called(named)
    if run is None:
        raise CommandError(f"There is no finished run and no report {named}.")
    return reports.scored_in(run)
