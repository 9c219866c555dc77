"""What people correct, put in its place among the timed words.

Whatever stays as it was keeps its times to the last digit. What stands in place of something else has its
time: word for word where there are as many, else by the length of the words. What is added fills the pause it
stands in, or takes no time if there is none. So no word begins before the one in front of it, and none lies
outside of what was corrected.

    InvalidEdits        they do not fit the transcript; the message says which
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple, cast

from jobs.transcripts.exports import PIECE, Spoken, joined, shown
from jobs.transcripts.results import Channel, Utterance, Word, merged_text

# How long an added word is at the most, where there is a pause to put it in.
SECONDS_PER_CHARACTER = 0.07
# A text is aligned in stretches of so many words, each from so many on that stand in it once.
LANDMARK_DISTANCE = 200
LANDMARK_WORDS = 4
# With more pairs of the same word in a stretch it takes minutes, where one stands there a thousand times.
MOST_PAIRS = 250_000


class InvalidEdits(ValueError):
    """`message` tells whoever sent them which is wrong."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Edit(NamedTuple):
    """What these words, one after the other in a channel, are to read, and who said them; None leaves that.

    `words` are places in the transcript's `words`, counted from 0.
    """

    words: Sequence[int]
    text: str | None = None
    speaker: int | None = None


@dataclass(frozen=True, slots=True)
class Corrected:
    """What is new in the corrected transcript; shapes as in jobs.transcripts.results."""

    text: str
    words: list[Word]
    utterances: list[Utterance]
    channels: list[Channel]


def corrected(
    transcript: Spoken,
    edits: Sequence[Edit],
    *,
    confirmed: Collection[int] = (),
    paragraphs: Mapping[int, bool] | None = None,
) -> Corrected:
    """The transcript with all edits made. InvalidEdits if they do not fit it, or one another.

    By their places: the words that are right as they are, whose confidence is nobody's question any more, and
    those that begin a paragraph, or go on in the one before.
    """
    paragraphs = paragraphs or {}
    words = timed_words(transcript)
    _check(words, edits, {*confirmed, *paragraphs})
    for at in confirmed:
        words[at] = cast(Word, {**words[at], "confidence": None})
    for at, begins in paragraphs.items():
        words[at] = cast(Word, {**words[at], "paragraph": begins})
    made: dict[int, list[Word]] = {at: [word] for at, word in enumerate(words)}
    following = _following(words)
    preceding = {after: before for before, after in following.items()}
    for edit in edits:
        chosen = [words[at] for at in edit.words]
        if edit.text is not None:
            since, until = preceding.get(edit.words[0]), following.get(edit.words[-1])
            placed = align(
                chosen,
                edit.text,
                since=None if since is None else words[since]["end"],
                until=None if until is None else words[until]["start"],
            )
        else:
            placed = list(enumerate(chosen))
        made |= {at: [] for at in edit.words}
        for origin, word in placed:
            if edit.speaker is not None and word.get("speaker") != edit.speaker:
                word = cast(Word, {**word, "speaker": edit.speaker})
                word.pop("speaker_confidence", None)
            made[edit.words[origin]].append(word)
        _keep_paragraphs(words, edit, made)
    touched = {at for edit in edits for at in edit.words}.union(confirmed, paragraphs)
    utterances = list(_utterances(transcript, words, made, touched))
    everything = [word for at in range(len(words)) for word in made[at]]
    everything.sort(key=lambda word: word["start"])
    channels = list(_channels(transcript, everything, {words[at].get("channel", 0) for at in touched}))
    text = merged_text(channels, utterances) if channels else joined(everything)
    return Corrected(text, everything, utterances, channels)


def rewritten(transcript: Spoken, text: str) -> Corrected:
    """The transcript with another text, of which what is the same keeps its times.

    InvalidEdits if several channels were transcribed: their texts overlap in time.
    """
    words = timed_words(transcript)
    if len({word.get("channel", 0) for word in words}) > 1:
        raise InvalidEdits("Several channels were transcribed: give edits of their words, not one text.")
    if words:
        return corrected(transcript, [Edit(range(len(words)), text)])
    channels = [cast(Channel, {**heard, "text": text}) for heard in transcript.channels[:1]]
    return Corrected(" ".join(text.split()), [], [], channels)


def timed_words(transcript: Spoken) -> list[Word]:
    """The words in the order of their start; those of the utterances where there are no others."""
    found: Iterable[Mapping[str, Any]] = transcript.words or [
        word for spoken in transcript.utterances for word in spoken.get("words") or _spread(spoken)
    ]
    return sorted((cast(Word, word) for word in found), key=lambda word: word["start"])


def align(
    words: Sequence[Word], text: str, *, since: float | None = None, until: float | None = None
) -> list[tuple[int, Word]]:
    """The words of `text`, which is said instead of `words`; with each the place of the one it comes from.

    `since` and `until`: when what is before them ends and what is after them begins. `words` is not empty.
    """
    old = [piece for at, word in enumerate(words) for piece in _pieces(at, word)]
    new = [piece for chunk in _cleaned(text).split() for piece in PIECE.findall(chunk)]
    if not old:
        return []
    placed: list[tuple[int, Word]] = []
    # How many pieces of a word stand in a row as they were, so that the word itself is kept.
    whole = Counter(piece.at for piece in old)
    for kind, i, j, k, m in _opcodes([piece.text for piece in old], new):
        if kind == "equal":
            for at, same in groupby(old[i:j], key=lambda piece: piece.at):
                pieces = list(same)
                if len(pieces) == whole[at]:
                    placed.append((at, words[at]))
                else:
                    placed += [(at, _made(words[at], piece.text, piece.start, piece.end)) for piece in pieces]
        elif i < j:
            placed += _instead(words, old[i:j], new[k:m])
        else:
            before = old[i - 1] if i else None
            after = old[i].start if i < len(old) else until
            placed += _added(words, before, after, new[k:m], since)
    return _in_order(placed, float("inf") if until is None else until)


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """As difflib's; a long text is first cut where some words in a row stand in both, once each.

    Its time rises by the square of a text's length, and by the cube where one word is said over and over: a
    stretch in which that is too much is taken for replaced.
    """
    i = k = 0
    for j, m in [*_landmarks(old, new), (len(old), len(new))]:
        in_new = Counter(new[k:m])
        if sum(in_new[text] for text in old[i:j]) > MOST_PAIRS:
            yield "replace", i, j, k, m
        else:
            matcher = SequenceMatcher(None, old[i:j], new[k:m], autojunk=False)
            for kind, a, b, c, d in matcher.get_opcodes():
                yield kind, i + a, i + b, k + c, k + d
        i, k = j, m


def _landmarks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the same begins in both, some hundreds of words from one to the next, always further on."""
    old_rows, new_rows = (
        list(zip(*(texts[at:] for at in range(LANDMARK_WORDS)), strict=False)) for texts in (old, new)
    )
    in_old, in_new = Counter(old_rows), Counter(new_rows)
    places = {row: at for at, row in enumerate(new_rows) if in_old[row] == in_new[row] == 1}
    last = 0
    for at, place in _rising([(at, places[row]) for at, row in enumerate(old_rows) if row in places]):
        if at - last >= LANDMARK_DISTANCE:
            yield at, place
            last = at


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most of them that can be kept so that both numbers rise: what was moved is left out."""
    # By length of row: the smallest number that one ends with, and where; for each pair, the one before it.
    ends: list[int] = []
    lasts: list[int] = []
    before: list[int | None] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(lasts[length - 1] if length else None)
        ends[length : length + 1], lasts[length : length + 1] = [place], [number]
    kept, at = [], lasts[-1] if lasts else None
    while at is not None:
        kept.append(pairs[at])
        at = before[at]
    return kept[::-1]


class _Piece(NamedTuple):
    """What stands between spaces or, in a script without them, a character; `at`: of which word."""

    text: str
    at: int
    start: float
    end: float


def _pieces(at: int, word: Word) -> Iterator[_Piece]:
    texts = [piece for chunk in shown(word).split() for piece in PIECE.findall(chunk)]
    total, done = sum(map(len, texts)), 0
    length = word["end"] - word["start"]
    for text in texts:
        start, done = word["start"] + length * done / total, done + len(text)
        # Rounded, it may be past the end.
        yield _Piece(text, at, start, min(word["start"] + length * done / total, word["end"]))


def _instead(words: Sequence[Word], old: Sequence[_Piece], new: Sequence[str]) -> Iterator[tuple[int, Word]]:
    if len(old) == len(new):
        for piece, text in zip(old, new, strict=True):
            yield piece.at, _made(words[piece.at], text, piece.start, piece.end)
        return
    # Both are laid along each other by their characters.
    ends = list(accumulate(len(piece.text) for piece in old))
    scale = ends[-1] / max(sum(map(len, new)), 1)
    done = 0.0
    for text in new:
        begun, done = done, done + len(text) * scale
        # Between two pieces, a word begins with the latter and ends with the former.
        first, start = _moment(old, ends, begun, bisect_right(ends, begun))
        _, end = _moment(old, ends, done, bisect_left(ends, done))
        yield first.at, _made(words[first.at], text, start, end)


def _moment(
    old: Sequence[_Piece], ends: Sequence[int], characters: float, number: int
) -> tuple[_Piece, float]:
    """The piece of this number, or the last, and when so many of all characters are said."""
    number = min(number, len(old) - 1)
    piece = old[number]
    share = min((characters - (ends[number] - len(piece.text))) / len(piece.text), 1.0)
    return piece, min(piece.start + (piece.end - piece.start) * share, piece.end)


def _added(
    words: Sequence[Word], before: _Piece | None, until: float | None, new: Sequence[str], since: float | None
) -> Iterator[tuple[int, Word]]:
    """In the pause after `before`, or in the one that ends the pause in front of all of them."""
    at = before.at if before else 0
    needed = sum(map(len, new)) * SECONDS_PER_CHARACTER
    if before is None:
        stop = words[0]["start"]
        start = max(stop - needed, min(stop if since is None else since, stop))
    else:
        start = before.end if until is None else max(min(before.end, until), before.start)
        stop = start if until is None else max(min(start + needed, until), start)
    total, done = sum(map(len, new)), 0
    for text in new:
        begins, done = start + (stop - start) * done / total, done + len(text)
        yield at, _made(words[at], text, begins, start + (stop - start) * done / total)


def _made(origin: Word, text: str, start: float, end: float) -> Word:
    """A word that a person wrote, of which no confidence is known, unless only its spelling is new."""
    spoken = _bare(text)
    if spoken == _bare(shown(origin)) and (start, end) == (origin["start"], origin["end"]):
        return cast(Word, {**origin, "punctuated_word": text})
    kept = {name: origin[name] for name in ("speaker", "language", "channel") if name in origin}
    made = {"word": spoken, "start": start, "end": max(end, start), "confidence": None}
    return cast(Word, {**made, "punctuated_word": text, **kept})


def _in_order(placed: Sequence[tuple[int, Word]], until: float) -> list[tuple[int, Word]]:
    """None begins before the one in front of it, or after `until`, also where words were heard at once."""
    ordered: list[tuple[int, Word]] = []
    last = float("-inf")
    for at, word in placed:
        start = max(min(word["start"], until), last)
        if start != word["start"]:
            word = cast(Word, {**word, "start": start, "end": max(word["end"], start)})
        last = start
        ordered.append((at, word))
    return ordered


def _bare(text: str) -> str:
    """As Deepgram gives a word beside how it is written: in lower case, without punctuation around it."""
    stripped = text.strip("\"'“”‘’«»‹›„().,;:!?¡¿…[]{}–—-")  # noqa: RUF001
    return (stripped or text).lower()


def _cleaned(text: str) -> str:
    """Without what is neither stored nor said: control characters, and halves of characters."""
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "ignore").decode()
    return "".join(character if character.isprintable() else " " for character in whole)


def _keep_paragraphs(words: Sequence[Word], edit: Edit, made: Mapping[int, list[Word]]) -> None:
    """A paragraph begins with whatever stands now where it began."""
    begins: bool | None = None
    for at in edit.words:
        begins = words[at].get("paragraph", begins)
        for number, word in enumerate(made[at]):
            if begins is not None or "paragraph" in word:
                kept = {name: value for name, value in word.items() if name != "paragraph"}
                made[at][number] = cast(Word, kept if begins is None else kept | {"paragraph": begins})
            begins = None


def _check(words: Sequence[Word], edits: Sequence[Edit], marked: Collection[int]) -> None:
    if (edits or marked) and not words:
        raise InvalidEdits("The transcript has no words with times: give its text.")
    if not all(0 <= at < len(words) for at in marked):
        raise InvalidEdits(f"Words are confirmed, and begin paragraphs, from 0 to {len(words) - 1}.")
    following = _following(words)
    taken: set[int] = set()
    for edit in edits:
        if not edit.words or not all(0 <= at < len(words) for at in edit.words):
            raise InvalidEdits(f"An edit is of words from 0 to {len(words) - 1}.")
        if any(following.get(before) != after for before, after in pairwise(edit.words)):
            raise InvalidEdits("The words of an edit follow one another in a channel, without one left out.")
        if taken.intersection(edit.words):
            raise InvalidEdits("No word is in two edits.")
        taken.update(edit.words)


def _following(words: Sequence[Word]) -> dict[int, int]:
    """For each word the next of its channel, by their places."""
    last: dict[int, int] = {}
    following = {}
    for at, word in enumerate(words):
        channel = word.get("channel", 0)
        if channel in last:
            following[last[channel]] = at
        last[channel] = at
    return following


def _utterances(
    transcript: Spoken, words: Sequence[Word], made: Mapping[int, Sequence[Word]], touched: set[int]
) -> Iterator[Utterance]:
    """Those in which nothing changed as they were; the others anew, one for each speaker in a row."""
    places: dict[tuple[int, float, float, str], list[int]] = {}
    for at, word in enumerate(words):
        places.setdefault(_key(word), []).append(at)
    for spoken in cast("Sequence[Utterance]", transcript.utterances):
        its = [at for word in spoken.get("words") or _spread(spoken) for at in places.get(_key(word), [])[:1]]
        for word in spoken.get("words") or []:
            if len(found := places.get(_key(word), [])) > 1:
                del found[0]
        if touched.isdisjoint(its):
            yield spoken
            continue
        said = [word for at in its for word in made[at]]
        for number, (speaker, row) in enumerate(groupby(said, key=lambda word: word.get("speaker"))):
            in_row = list(row)
            part: dict[str, Any] = {
                **spoken,
                "id": spoken["id"] if number == 0 else "",
                "transcript": joined(in_row),
                "words": in_row,
            }
            if len(in_row) < len(said):
                part |= {"start": in_row[0]["start"], "end": in_row[-1]["end"]}
            if speaker is not None:
                part["speaker"] = speaker
            yield cast(Utterance, part)


def _channels(transcript: Spoken, words: Sequence[Word], touched: set[int]) -> Iterator[Channel]:
    several = len(transcript.channels) > 1
    for heard in cast("Sequence[Channel]", transcript.channels):
        if heard["index"] not in touched and several:
            yield heard
            continue
        its = [word for word in words if not several or word.get("channel", 0) == heard["index"]]
        yield cast(Channel, {**heard, "text": joined(its), "words": its})


def _key(word: Mapping[str, Any]) -> tuple[int, float, float, str]:
    return word.get("channel", 0), word["start"], word["end"], word["word"]


def _spread(spoken: Mapping[str, Any]) -> Iterator[Word]:
    """Words for an utterance that has none: its text's, over its time."""
    texts = str(spoken.get("transcript", "")).split()
    total, done = sum(map(len, texts)), 0
    length = spoken["end"] - spoken["start"]
    for text in texts:
        start, done = spoken["start"] + length * done / total, done + len(text)
        word = {"word": _bare(text), "punctuated_word": text, "start": start}
        word |= {"end": spoken["start"] + length * done / total, "confidence": spoken.get("confidence")}
        yield cast(Word, word | {name: spoken[name] for name in ("speaker",) if name in spoken})
