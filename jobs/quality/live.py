"""Recordings as live audio, several at once: each is spoken to a session of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from jobs.models import EvaluatedRecording
from jobs.quality.listening import Heard, NotHeard, listened
from jobs.quality.runs import Piece
from jobs.quality.sound import Noise, Undecodable, little_endian, with_noise
from jobs.transcripts.options import to_query


def streamed(
    pieces: Iterable[Piece],
    address: str,
    key: str,
    noise: Noise | None,
    *,
    at_once: int,
    region_of: Callable[[str], str],
) -> Generator[EvaluatedRecording]:
    """Each as its session has ended: with what was `heard`, or why not.

    `region_of` a session, by the request id of its results; asked in this thread.
    """
    gone = threading.Event()

    def heard(piece: Piece) -> Heard:
        if piece.path is None:
            raise NotHeard("only files can be streamed")
        audio = little_endian(with_noise(piece.path, noise))
        query = [*to_query(piece.options), *(("tag", tag) for tag in piece.recording.tags)]
        return listened(address, key, query, audio, gone)

    pool = ThreadPoolExecutor(at_once)
    try:
        spoken = {pool.submit(heard, piece): piece.recording for piece in pieces}
        for future in as_completed(spoken):
            recording = spoken[future]
            try:
                recording.heard, request_id = future.result()
            except (NotHeard, Undecodable, OSError) as error:
                recording.error = str(error)[:500]
            else:
                recording.region, recording.error = region_of(request_id), ""
            yield recording
    finally:
        # Also of whoever is interrupted: the sessions are closed, and cost nothing more.
        gone.set()
        pool.shutdown(cancel_futures=True)
