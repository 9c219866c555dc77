"""Finding jobs by what was said in them, and by what their recordings are called or where they came from.

PostgreSQL has indexes of words (full text, without any language's rules: it may be of any). A word that is
in many rows would be found in them all before the newest could be shown; so the newest rows are looked at
first, and all the others by the index only if that finds little. SQLite looks at every row.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from jobs.models import TranscriptionJob

FOUND_AT_MOST = 1000
LOOKED_AT_FIRST = 1000
ENOUGH = 25
# PostgreSQL takes no more than a megabyte of words: this is some three hours of speech.
SEARCHED_CHARACTERS = 150_000

# As the indexes have it (migration 0008): letters and digits are words, everything else stands between them.
# What is a letter the database says, to the query as well: Python takes no vowel signs for one.
_WORDS = "to_tsvector('simple', regexp_replace(left({column}, {characters}), '[^[:alnum:]]+', ' ', 'g'))"
_ASKED = "SELECT regexp_split_to_array(%s, '[^[:alnum:]]+')"
_SOURCE = """
{name}_newest AS MATERIALIZED (
    SELECT id, {key} AS found, {words} @@ to_tsquery('simple', %(words)s) AS hit
    FROM {table} WHERE {column} <> '' ORDER BY id DESC LIMIT {first}
), {name}_all AS MATERIALIZED (
    SELECT id, {key} AS found FROM {table}
    WHERE {column} <> '' AND {words} @@ to_tsquery('simple', %(words)s)
        AND (SELECT count(*) FROM {name}_newest WHERE hit) < {enough}
), {name} AS (
    SELECT found FROM {name}_newest WHERE hit
    UNION (SELECT found FROM {name}_all ORDER BY id DESC LIMIT {most})
)"""
_SOURCES = (
    ("said", "jobs_transcript", "text", "job_id"),
    ("called", "jobs_recording", "filename", "id"),
    ("fetched", "jobs_transcriptionjob", "url", "id"),
)
_FOUND = """
WITH {sources}
SELECT found FROM said
UNION SELECT job.id FROM called JOIN jobs_transcriptionjob AS job ON job.recording_id = called.found
UNION SELECT found FROM fetched
ORDER BY 1 DESC LIMIT {most}
"""


def words_of(column: str) -> str:
    """The expression by which PostgreSQL's indexes have the words of a column."""
    return _WORDS.format(column=column, characters=SEARCHED_CHARACTERS)


_STATEMENT = _FOUND.format(
    sources=",".join(
        _SOURCE.format(
            name=name,
            table=table,
            column=column,
            key=key,
            words=words_of(column),
            first=LOOKED_AT_FIRST,
            enough=ENOUGH,
            most=FOUND_AT_MOST,
        )
        for name, table, column, key in _SOURCES
    ),
    most=FOUND_AT_MOST,
)


def found(text: str) -> Q:
    """The newest jobs, up to a thousand, with all words of `text`, each the beginning of one, in one place.

    Places are the transcript, the recording's file name and the URL. On SQLite `text` as it stands is looked
    for. An id or an error code is found as such.
    """
    text = text.strip()
    try:
        return Q(pk=UUID(text))
    except ValueError:
        pass
    if connection.vendor == "postgresql":
        pks = _by_words(text)
    else:
        anywhere = Q(transcripts__text__icontains=text) | Q(recording__filename__icontains=text)
        matching = TranscriptionJob.objects.filter(anywhere | Q(url__icontains=text)).distinct()
        pks = list(matching.order_by("-id").values_list("pk", flat=True)[:FOUND_AT_MOST])
    return Q(pk__in=pks) | Q(error_code=text) if "_" in text else Q(pk__in=pks)


def _by_words(text: str) -> list[UUID]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ASKED, [text])
        words = [word for word in cursor.fetchone()[0] if word]
        if not words:
            return []
        # What PostgreSQL expects of it is far too much: to compile it would take longer than to run it.
        cursor.execute("SET LOCAL jit = off")
        cursor.execute(_STATEMENT, {"words": " & ".join(f"{word}:*" for word in words)})
        return [pk for (pk,) in cursor.fetchall()]
