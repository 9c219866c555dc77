"""Transcripts as files: plain text, SubRip (.srt), WebVTT (.vtt) and JSON.

Subtitles follow what broadcasters and streaming services ask for: two lines of 42 columns, 1 to 7 seconds, 20
columns a second, two frames between cues, breaks where the sentence breaks. Where speech allows no more, as
when people interrupt each other, columns and order hold and durations give way. A wide (East Asian) character
counts as two columns. Times in this module are whole milliseconds, so that no rounding can reach 60.000 s.

WebVTT: w3.org/TR/webvtt1. SubRip has no standard: numbered cues, comma before the milliseconds.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple, Protocol

LINE_COLUMNS = 42
SHORTEST_MS, LONGEST_MS = 1000, 7000
COLUMNS_PER_SECOND = 20
GAP_MS = 84  # two frames at 24 frames a second, the slowest in use
CUE_PAUSE_MS, PARAGRAPH_PAUSE_MS = 1000, 2000
# How long a cue may hold up the next: to be shown for a second at all, and to be read while others talk over
# it. In the worst crowd it is shown for a moment all the same.
LAG_MS, TALKED_OVER_LAG_MS, MOMENT_MS = 500, 1500, 200


class Spoken(Protocol):
    """A transcript with its words as jobs.transcripts.results gives them: a stored row, a parsed answer.

    Where there are no words, as after a correction by hand, those of the utterances are spread over their
    time. Speakers and channels count from 0 here and from 1 in what people read.
    """

    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float | None: ...
    @property
    def language(self) -> str: ...
    @property
    def words(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def utterances(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def channels(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def speakers(self) -> Sequence[Mapping[str, Any]]:
        """What people call the voices: `{channel, speaker, name}`; null is what a voice is not told by."""


def to_json(transcript: Spoken) -> str:
    """What is unset is null: a language or an utterance's id that the provider did not tell.

    Words and utterances of a voice that has a name carry it as `speaker_name`.
    """
    names, several = _names(transcript), several_channels(transcript)

    def named(spoken: Mapping[str, Any]) -> Mapping[str, Any]:
        name = names.get(voice_of(spoken, several=several))
        return {**spoken, "speaker_name": name} if name else spoken

    return json.dumps(
        {
            "text": transcript.text,
            "confidence": transcript.confidence,
            "language": transcript.language or None,
            "words": [named(word) for word in transcript.words],
            "utterances": [
                {**named(spoken), "id": spoken.get("id") or None} for spoken in transcript.utterances
            ],
            "channels": [
                {**heard, "language": heard.get("language") or None} for heard in transcript.channels
            ],
        },
        ensure_ascii=False,
    )


class Paragraph(NamedTuple):
    """What one voice said; `voice` is empty where it is nobody's, or still the one before's."""

    voice: str
    text: str


def paragraphs_of(transcript: Spoken) -> list[Paragraph]:
    """A new one at each change of speaker and long pause, of which people may have said otherwise.

    (`paragraph` of a word.)
    """
    paragraphs: list[Paragraph] = []
    before: _Turn | None = None
    for turn in _turns(transcript):
        said = _joined(turn.tokens)
        if before is None or before.voice != turn.voice:
            paragraphs.append(Paragraph(turn.voice, said))
        elif turn.start - before.end >= PARAGRAPH_PAUSE_MS if turn.begins is None else turn.begins:
            paragraphs.append(Paragraph("", said))
        else:
            last = paragraphs[-1]
            paragraphs[-1] = last._replace(text=last.text + _space(turn.tokens[0]) + said)
        before = turn
    return paragraphs or ([Paragraph("", transcript.text)] if transcript.text else [])


def to_txt(transcript: Spoken) -> str:
    """Paragraphs apart by an empty line, the first of each speaker's with the name."""
    told = [f"{voice}: {text}" if voice else text for voice, text in paragraphs_of(transcript)]
    return "\n\n".join(told) + "\n" if told else ""


def to_srt(transcript: Spoken) -> str:
    """Numbered cues; "Speaker 1: " before the words at each change of speaker."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n"
        + "".join(f"{line}\n" for line in cue.lines)
        for number, cue in enumerate(_cues(transcript, named=True), 1)
    )


def to_vtt(transcript: Spoken) -> str:
    """Cues with the speaker as their voice, `<v Speaker 1>`."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
        + (f"<v {_escaped(cue.voice)}>" if cue.voice else "")
        + "".join(f"{_escaped(line)}\n" for line in cue.lines)
        for cue in _cues(transcript, named=False)
    )


class Format(NamedTuple):
    """A kind of file: its media type, and who writes it."""

    media_type: str
    write: Callable[[Spoken], str]


# By the ending of the file's name.
FORMATS = {
    "txt": Format("text/plain; charset=utf-8", to_txt),
    "srt": Format("application/x-subrip; charset=utf-8", to_srt),
    "vtt": Format("text/vtt; charset=utf-8", to_vtt),
    "json": Format("application/json", to_json),
}


def _clock(milliseconds: int, mark: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{thousandths:03}"


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # so no line can hold "-->"


@dataclass(frozen=True, slots=True)
class _Token:
    """What stays together on a line: a word, or a piece of one in a script without spaces."""

    text: str
    start: int
    end: int
    columns: int
    glued: bool  # nothing stands between it and the token before


@dataclass(frozen=True, slots=True)
class _Turn:
    """One voice without a pause. The turns of several channels may overlap in time."""

    voice: str
    tokens: list[_Token]
    begins: bool | None  # a paragraph, or none; None: nobody said so

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end


@dataclass(slots=True)
class _Cue:
    voice: str
    tokens: Sequence[_Token]
    break_costs: Sequence[float]  # for a break after each of the tokens
    start: int
    end: int
    lines: Sequence[str] = ()


def _turns(transcript: Spoken) -> list[_Turn]:
    """The turns in the order of their start; within a channel every word is in its place."""
    words = transcript.words or [word for said in transcript.utterances for word in _spread(said)]
    by_channel: dict[int, list[Mapping[str, Any]]] = {}
    for word in sorted(words, key=lambda word: float(word["start"])):
        by_channel.setdefault(word.get("channel") or 0, []).append(word)
    several, names = several_channels(transcript), _names(transcript)

    turns: list[_Turn] = []
    for channel, spoken in by_channel.items():
        turn: _Turn | None = None
        speaker: int | None = None
        for word in spoken:
            speaker = word.get("speaker") if word.get("speaker") is not None else speaker
            heard = (channel if several else None, speaker)
            voice = names.get(heard) or voice_label(*heard)
            begins = word.get("paragraph")
            for token in _tokens(word, turn.tokens[-1] if turn else None):
                if turn is None or turn.voice != voice or token.start - turn.end >= CUE_PAUSE_MS or begins:
                    turn = _Turn(voice, [], begins)
                    turns.append(turn)
                begins = None
                turn.tokens.append(token)
    return sorted(turns, key=lambda turn: turn.start)


def several_channels(transcript: Spoken) -> bool:
    """Whether voices are told apart by their channels as well."""
    heard = {said.get("channel") or 0 for said in transcript.words or transcript.utterances}
    return len(heard) > 1 or len(transcript.channels) > 1


def voice_of(said: Mapping[str, Any], *, several: bool) -> tuple[int | None, int | None]:
    """The channel and the speaker of a word or an utterance, as `Spoken.speakers` has them."""
    return said.get("channel") or 0 if several else None, said.get("speaker")


def _names(transcript: Spoken) -> dict[tuple[int | None, int | None], str]:
    return {(voice["channel"], voice["speaker"]): voice["name"] for voice in transcript.speakers}


def voice_label(channel: int | None, speaker: int | None) -> str:
    """What a voice without a name is called; nothing if there is only one."""
    names = [f"Channel {channel + 1}"] if channel is not None else []
    if speaker is not None:
        names.append(f"Speaker {speaker + 1}")
    return ", ".join(names)


def _spread(utterance: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The utterance as a single long word, which `_tokens` takes apart, or the words it has."""
    return utterance.get("words") or [{**utterance, "word": utterance.get("transcript", "")}]


# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han and their full-width punctuation.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff01-\uff65\U00020000-\U0003fffd"
)
# Of these, what must not begin a line: closing punctuation, small kana, and marks that sit on a letter.
_NOT_LEADING = (
    "、。，．！？：；）」』】〉》”’…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"  # noqa: RUF001
    "\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3"
)
_STARTS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ENDS_UNSPACED = re.compile(f"[{_UNSPACED}]$")
# What is taken apart no further: a character of a script without spaces, or what stands between such.
PIECE = re.compile(f"[{_UNSPACED}][{_NOT_LEADING}]*|[^{_UNSPACED}]+")
_STARTS_NOT_LEADING = re.compile(f"[{_NOT_LEADING}]")


def _tokens(word: Mapping[str, Any], before: _Token | None) -> list[_Token]:
    """Split what a word holds at spaces and, where it is too wide for a line, between unspaced characters.

    Its time is spread over the pieces; none begins sooner than the token before, whatever the word says.
    """
    start = max(round(float(word["start"]) * 1000), before.start if before else 0)
    duration = max(round(float(word["end"]) * 1000) - start, 0)
    pieces: list[tuple[str, int, bool]] = []
    last = before.text if before else ""
    for chunk in shown(word).split():
        whole = _columns(chunk) <= LINE_COLUMNS
        for index, piece in enumerate([chunk] if whole else PIECE.findall(chunk)):
            glued = index > 0 or bool(_STARTS_UNSPACED.match(piece) and _ENDS_UNSPACED.search(last))
            pieces.append((piece, _columns(piece), glued))
            last = piece
    total = sum(columns for _, columns, _ in pieces)
    tokens, done = [], 0
    for piece, columns, glued in pieces:
        begins, done = start + duration * done // total, done + columns
        tokens.append(_Token(piece, begins, start + duration * done // total, columns, glued))
    return tokens


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def _space(token: _Token) -> str:
    return "" if token.glued else " "


def joined(words: Iterable[Mapping[str, Any]]) -> str:
    """The words as one text, with spaces where their script has them."""
    tokens: list[_Token] = []
    for word in words:
        tokens += _tokens(word, tokens[-1] if tokens else None)
    return _joined(tokens) if tokens else ""


def shown(word: Mapping[str, Any]) -> str:
    """A word as it is written."""
    return str(word.get("punctuated_word") or word.get("word") or "")


def _joined(tokens: Sequence[_Token]) -> str:
    return tokens[0].text + "".join(_space(token) + token.text for token in tokens[1:])


def _cues(transcript: Spoken, *, named: bool) -> list[_Cue]:
    """The transcript cut into cues, laid out and timed; `named` puts the voice's name into the text."""
    turns = _turns(transcript)
    # Where channels talk over each other their cues alternate, and any of them may have to name its voice.
    crossing = any(turn.end > following.start for turn, following in pairwise(turns))
    cues: list[_Cue] = []
    voice = ""
    for turn, following in zip_longest(turns, turns[1:]):
        spoken_for = named and turn.voice and (crossing or turn.voice != voice)
        name_columns = len(turn.voice) + 1 if spoken_for else 0
        voice = turn.voice
        until = following.start if following else None
        cues += _cut(turn, until, transcript.language, name=name_columns, name_each=crossing)
    cues.sort(key=lambda cue: cue.start)

    voice = ""
    for cue in cues:
        name = f"{cue.voice}:" if named and cue.voice != voice and cue.voice else ""
        cue.lines = _lines(cue, name)
        voice = cue.voice
    _time(cues)
    return cues


_SENTENCE_END = re.compile(r"[.?!…。！？।؟][\"'”’»)\]」』）]*$")  # noqa: RUF001
_CLAUSE_END = re.compile(r"[,;:–—、，；：،][\"'”’»)\]」』）]*$")  # noqa: RUF001
# Words that begin a clause, best put on a new line; words that lean on the next, best not left at an end.
_LEADING = {
    "en": "and|but|or|so|because|although|though|if|when|while|where|which|who|that|than|then|unless|until",
    "de": "und|aber|oder|denn|weil|obwohl|wenn|als|während|wo|dass|ob|bevor|nachdem|damit|sondern",
    "es": "y|e|o|u|pero|porque|aunque|si|cuando|mientras|donde|que|quien|sino|entonces",
    "fr": "et|mais|ou|donc|car|parce|quoique|si|quand|lorsque|pendant|où|que|qui|puis|comme",
}
_LEANING = {
    "en": "a|an|the|of|to|in|on|at|for|from|with|by|into|about|as|my|your|his|her|its|our|their|mr.|mrs.|dr.",
    "de": "der|die|das|den|dem|des|ein|eine|einen|einem|einer|in|im|an|am|auf|mit|von|vom|zu|zum|zur|für|bei",
    "es": "el|la|los|las|un|una|unos|unas|de|del|a|al|en|con|por|para|sin|sobre|mi|tu|su|sus",
    "fr": "le|la|les|un|une|des|de|du|à|au|aux|en|dans|par|pour|sur|avec|sans|mon|ma|son|sa|ses",
}
_PAUSE_MS = 350
# What a break costs, best to worst; at the end of a sentence it is free.
_CLAUSE_COST = 2.0
_LEADING_COST = 3.0
_PAUSE_COST = 4.0
_PHRASE_COST = 5.0
_WORD_COST = 7.0
_LEANING_COST = 24.0
_PIECE_COST = 40.0
# Between the lines of a cue, where the reader sees both, it costs that share. Against breaks weigh a cue
# shown too briefly and lines of unequal length.
_LINE_BREAK_SHARE = 0.5
_COST_PER_SECOND_SHORT = 8.0
_COST_PER_COLUMN_UNEVEN = 0.2


def _break_costs(tokens: Sequence[_Token], language: str) -> list[float]:
    """What a break after each token costs; after the last it is free."""
    spoken = language[:2].lower() or "en"  # Deepgram's default, and so what an unnamed language is
    leading = frozenset(_LEADING.get(spoken, "").split("|"))
    leaning = frozenset(_LEANING.get(spoken, "").split("|"))
    costs = [_break_cost(token, following, leading, leaning) for token, following in pairwise(tokens)]
    return [*costs, 0.0]


def _break_cost(token: _Token, following: _Token, leading: frozenset[str], leaning: frozenset[str]) -> float:
    if following.glued and _STARTS_NOT_LEADING.match(following.text):
        return _PIECE_COST
    if token.text.lower() in leaning:
        return _LEANING_COST
    if _SENTENCE_END.search(token.text):
        return 0.0
    if _CLAUSE_END.search(token.text):
        return _CLAUSE_COST
    if following.text.lower().rstrip(",") in leading:
        return _LEADING_COST
    if following.start - token.end >= _PAUSE_MS:
        return _PAUSE_COST
    return _PHRASE_COST if following.text.lower() in leaning else _WORD_COST


def _cut(turn: _Turn, until: int | None, language: str, *, name: int, name_each: bool) -> list[_Cue]:
    """Cut a turn where the sum of the costs is least, each cue fitting two lines and the longest duration.

    `until` is when the next turn begins; `name` is how many columns the speaker's name takes, in the first
    cue or in each. A token that alone is too wide or too long is a cue by itself.
    """
    tokens, count = turn.tokens, len(turn.tokens)
    costs = _break_costs(tokens, language)
    left, right = _offsets(tokens)
    fits, begins = _fitting_lines(left, right)
    starts = [token.start for token in tokens] + [math.inf if until is None else until]

    least = [0.0] + [math.inf] * count
    cut_at = [0] * (count + 1)
    for first in range(count):
        room = LINE_COLUMNS - (name + 1 if name and (name_each or first == 0) else 0)
        upper = fits[first]  # the last token of the first line; the one before `first` if the name fills it
        while upper >= first and right[upper] - left[first] > room:
            upper -= 1
        last = fits[min(upper + 1, count - 1)]
        start = starts[first]
        for end in range(first, last + 1):
            spoken = tokens[end].end - start
            if spoken > LONGEST_MS and end > first:
                break
            shown = max(starts[end + 1] - start - GAP_MS, spoken)
            cost = least[first] + costs[end]
            if end > upper:
                cost += min(costs[begins[end] - 1 : upper + 1], default=_PIECE_COST) * _LINE_BREAK_SHARE
            if shown < SHORTEST_MS:
                cost += (SHORTEST_MS - shown) / 1000 * _COST_PER_SECOND_SHORT
            if cost < least[end + 1]:  # of equal ways to cut, the one with the longest last cue
                least[end + 1], cut_at[end + 1] = cost, first

    cues = []
    end = count
    while end:
        first = cut_at[end]
        cue = tokens[first:end]
        cues.append(_Cue(turn.voice, cue, costs[first:end], cue[0].start, max(token.end for token in cue)))
        end = first
    return cues[::-1]


def _offsets(tokens: Sequence[_Token]) -> tuple[list[int], list[int]]:
    """The columns at which each token would begin and end if all stood on one line."""
    left, right, column = [], [], 0
    for token in tokens:
        left.append(column + (0 if token.glued else 1))
        column = left[-1] + token.columns
        right.append(column)
    return left, right


def _fitting_lines(left: Sequence[int], right: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each token, the last that fits a line beginning with it and the first that fits one ending with it.

    A token too wide for a line has one to itself.
    """
    fits, begins, last = [], [0] * len(left), -1
    for first in range(len(left)):
        while last < first or (last + 1 < len(left) and right[last + 1] - left[first] <= LINE_COLUMNS):
            last += 1
            begins[last] = first
        fits.append(last)
    return fits, begins


def _lines(cue: _Cue, name: str) -> list[str]:
    """One line if it fits, else two where the sentence breaks best and the lengths differ least."""
    tokens, costs = list(cue.tokens), list(cue.break_costs)
    if name:
        tokens = [_Token(name, 0, 0, len(name), glued=False), replace(tokens[0], glued=False), *tokens[1:]]
        costs = [_PIECE_COST, *costs]
    left, right = _offsets(tokens)
    if right[-1] - left[0] <= LINE_COLUMNS or len(tokens) == 1:
        return [_joined(tokens)]

    def cost(at: int) -> float:
        upper, lower = right[at - 1] - left[0], right[-1] - left[at]
        too_wide = (at > 1 and upper > LINE_COLUMNS) or (at < len(tokens) - 1 and lower > LINE_COLUMNS)
        return math.inf if too_wide else costs[at - 1] + abs(upper - lower) * _COST_PER_COLUMN_UNEVEN

    at = min(range(1, len(tokens)), key=cost)
    return [_joined(tokens[:at]), _joined(tokens[at:])]


def _time(cues: Sequence[_Cue]) -> None:
    """Set when each cue is shown: from its first word, for as long as it takes to read, none over another."""
    shown_until = -GAP_MS
    for cue, following in zip_longest(cues, cues[1:]):
        cue.start = max(cue.start, shown_until + GAP_MS)
        free = following.start - GAP_MS if following else cue.start + LONGEST_MS
        talked_over = min(max(cue.end - free - GAP_MS, 0), TALKED_OVER_LAG_MS)
        columns = sum(_columns(line) for line in cue.lines)
        readable = cue.start + min(max(SHORTEST_MS, columns * 1000 // COLUMNS_PER_SECOND), LONGEST_MS)
        cue.end = shown_until = max(
            min(max(cue.end, readable), cue.start + LONGEST_MS, free),
            min(cue.start + SHORTEST_MS, free + LAG_MS),
            min(readable, free + talked_over),
            cue.start + MOMENT_MS,
        )
