import json
import re
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transcripts.exports import COLUMNS_PER_SECOND, GAP_MS, to_json, to_srt, to_txt, to_vtt
from jobs.transcripts.results import parse

NAME = r"(?:Channel \d+(?:, Speaker \d+)?|Speaker \d+)"
CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)"


@dataclass
class Cue:
    start: int
    end: int
    voice: str
    lines: list[str]

    @property
    def text(self):
        return " ".join(self.lines)


def milliseconds(hours, minutes, seconds, thousandths):
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(thousandths)


def timing(line, mark):
    found = re.fullmatch(rf"{CLOCK}\{mark}(\d{{3}}) --> {CLOCK}\{mark}(\d{{3}})", line)
    assert found, line
    return milliseconds(*found.groups()[:4]), milliseconds(*found.groups()[4:])


def blocks(text):
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    return [block.split("\n") for block in text[:-1].split("\n\n")]


def read_srt(text):
    """Read SubRip strictly; the voice is the last one named, and its name stays in the lines."""
    cues, voice = [], ""
    for number, (head, clocks, *lines) in enumerate(blocks(text) if text else [], 1):
        assert head == str(number)
        assert lines
        assert all(lines)
        voice = named[1] if (named := re.match(rf"({NAME}):", lines[0])) else voice
        cues.append(Cue(*timing(clocks, ","), voice, lines))
    return cues


def read_vtt(text):
    """Read WebVTT strictly, entities and the voice tag resolved."""
    (header, *none), *bodies = blocks(text)
    assert (header, none) == ("WEBVTT", [])
    cues = []
    for clocks, *lines in bodies:
        assert lines
        assert all(lines)
        voice = re.match(r"<v ([^<>&]+)>", lines[0])
        lines[0] = lines[0][voice.end() :] if voice else lines[0]
        assert not any(re.search(r"[<>]|&(?!(amp|lt|gt);)", line) for line in lines)
        plain = [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines]
        cues.append(Cue(*timing(clocks, "."), voice[1] if voice else "", plain))
    return cues


def transcript(words=(), *, text="", language="en", utterances=(), channels=1):
    return SimpleNamespace(
        text=text,
        confidence=0.9,
        language=language,
        words=list(words),
        utterances=list(utterances),
        channels=[{}] * channels,
        speakers=[],
    )


def say(text, start=0.0, *, pace=0.3, **more):
    """The words of a text, each `pace` seconds long and following at once."""
    return [
        {"word": word.strip(".,?!").lower(), "punctuated_word": word, **more}
        | {"start": start + index * pace, "end": start + (index + 1) * pace}
        for index, word in enumerate(text.split())
    ]


def test_a_cue_in_both_formats():
    spoken = transcript(say("Hello there, world.", 1.5))
    assert to_srt(spoken) == "1\n00:00:01,500 --> 00:00:02,500\nHello there, world.\n"
    assert to_vtt(spoken) == "WEBVTT\n\n00:00:01.500 --> 00:00:02.500\nHello there, world.\n"


def test_silence_exports_as_empty_files():
    assert (to_srt(transcript()), to_vtt(transcript()), to_txt(transcript())) == ("", "WEBVTT\n", "")


@pytest.mark.parametrize(
    ("start", "clock"),
    [
        (59.9996, "00:01:00,000"),
        (59.9994, "00:00:59,999"),
        (3599.9999, "01:00:00,000"),
        (0.0004, "00:00:00,000"),
        (363_661.25, "101:01:01,250"),
    ],
)
def test_clocks_carry_over_and_exceed_a_hundred_hours(start, clock):
    assert to_srt(transcript(say("Yes.", start))).split("\n")[1].startswith(f"{clock} --> ")


def srt_cues(text, **more):
    return read_srt(to_srt(transcript(say(text), **more)))


def test_breaks_prefer_the_end_of_a_sentence():
    first = "The meeting begins at nine in the large room today."
    second = "Please bring your own notes and pens."
    assert [cue.text for cue in srt_cues(f"{first} {second}")] == [first, second]


def test_within_a_sentence_breaks_prefer_commas():
    first = "When the long winter finally ended over the northern hills,"
    second = "everyone in the village went outside to look at the river"
    assert [cue.text for cue in srt_cues(f"{first} {second}")] == [first, second]


def test_without_a_comma_breaks_prefer_a_conjunction():
    first = "The whole family walked down to the river early that morning"
    second = "and everyone stayed there until nightfall"
    assert [cue.text for cue in srt_cues(f"{first} {second}")] == [first, second]


def test_without_either_breaks_prefer_a_pause():
    first = say("seven small boats sailed past our windows")
    second = say("ninety larger vessels waited outside harbour walls", first[-1]["end"] + 0.5)
    cues = read_srt(to_srt(transcript(first + second)))
    assert cues[0].text.endswith("windows")


def test_short_sentences_share_a_cue():
    (cue,) = read_srt(to_srt(transcript(say("I saw it. You did not.", pace=0.5))))
    assert cue.text == "I saw it. You did not."


def test_a_word_too_short_to_be_read_joins_its_neighbour():
    sentence = say(
        "the committee reviewed every proposal in detail, before it accepted them all.", 0.3, pace=0.57
    )
    first, second = read_srt(to_srt(transcript(say("So.") + sentence)))  # together they exceed seven seconds
    assert first.text == "So. the committee reviewed every proposal in detail,"
    assert second.text == "before it accepted them all."


@pytest.mark.parametrize("count", range(8, 28))
def test_no_line_is_left_on_an_article_or_preposition(count):
    spoken = (
        "she put the heavy box on the table of the old kitchen in a house by the sea "
        "with a view of the long bay to the east"
    )
    cues = srt_cues(" ".join(spoken.split()[:count]))
    inner_ends = [line.split()[-1] for cue in cues for line in cue.lines][:-1]
    assert not {"the", "a", "of", "on", "in", "by", "with", "to"} & set(inner_ends)


@pytest.mark.parametrize(
    ("language", "upper"),
    [
        ("de-CH", "wir haben gestern lange"),
        ("en", "wir haben gestern lange mit dem"),
        ("it", "wir haben gestern lange mit dem"),
    ],
)
def test_the_language_decides_which_words_are_not_left_at_the_end(language, upper):
    (cue,) = srt_cues("wir haben gestern lange mit dem Lehrer der Schule gesprochen", language=language)
    assert cue.lines[0] == upper


@pytest.mark.parametrize(
    ("language", "upper"),
    [
        ("", "every morning they looked"),
        ("en-GB", "every morning they looked"),
        ("it", "every morning they looked at"),
    ],
)
def test_a_language_not_told_is_english_and_one_not_known_has_no_such_words(language, upper):
    (cue,) = srt_cues("every morning they looked at the distant snowy mountains", language=language)
    assert cue.lines[0] == upper


def test_two_lines_are_balanced():
    (cue,) = read_srt(to_srt(transcript(say("one two three four five six seven eight nine ten", pace=0.4))))
    assert cue.lines == ["one two three four five", "six seven eight nine ten"]


def test_a_long_pause_begins_a_new_cue():
    cues = read_srt(to_srt(transcript([*say("So", 0), *say("yes", 1.4)])))
    assert [cue.text for cue in cues] == ["So", "yes"]


def test_a_short_cue_stays_for_a_second_and_a_quick_one_until_it_is_read():
    short, quick = read_srt(
        to_srt(transcript([*say("Yes.", 0), *say("Extraordinarily complicated circumstances.", 5, pace=0.2)]))
    )
    assert short.end - short.start == 1000
    assert quick.end - quick.start == len(quick.text) * 1000 // COLUMNS_PER_SECOND


def test_a_cue_lasts_no_longer_than_seven_seconds():
    cues = read_srt(to_srt(transcript(say("one two three four five six seven", pace=1.9))))
    assert max(cue.end - cue.start for cue in cues) <= 7000
    assert max(len(cue.text.split()) for cue in cues) == 3


def test_an_interjection_holds_up_the_next_cue_by_half_a_second_at_most():
    words = [*say("No.", 0.3, speaker=1, pace=0.2), *say("But listen to me now.", 0.5, speaker=0)]
    no, but = read_vtt(to_vtt(transcript(words)))
    assert (no.end, but.start) == (916, 1000)


def test_an_unchanged_speaker_takes_no_room_after_a_pause():
    said = "No, it wasn't. It was at the old station."
    words = [*say("Well.", 0, speaker=0), *say(said, 3, speaker=0)]
    assert read_srt(to_srt(transcript(words)))[1].lines == [said]


def test_srt_names_the_speaker_at_each_change():
    words = [*say("Hello.", 0, speaker=0), *say("Are you there?", 3, speaker=0), *say("I am.", 6, speaker=1)]
    assert [cue.text for cue in read_srt(to_srt(transcript(words)))] == [
        "Speaker 1: Hello.",
        "Are you there?",
        "Speaker 2: I am.",
    ]


def test_vtt_gives_each_cue_its_voice():
    words = [*say("Hello.", 0, speaker=0), *say("Are you there?", 3, speaker=0), *say("I am.", 6, speaker=1)]
    assert [(cue.voice, cue.text) for cue in read_vtt(to_vtt(transcript(words)))] == [
        ("Speaker 1", "Hello."),
        ("Speaker 1", "Are you there?"),
        ("Speaker 2", "I am."),
    ]


def test_a_word_without_a_speaker_belongs_to_the_last_one():
    words = [*say("Hello", 0, speaker=1), *say("there.", 0.3)]
    assert [cue.text for cue in read_srt(to_srt(transcript(words)))] == ["Speaker 2: Hello there."]


def test_channels_that_talk_over_each_other_keep_their_sentences_whole():
    first = say("Hello, this is the support line, how can I help?", 0, channel=0)
    second = say("My order has never arrived.", 0.5, channel=1)
    words = sorted(first + second, key=lambda word: word["start"])

    cues = read_vtt(to_vtt(transcript(words, channels=2)))

    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    said = {
        voice: " ".join(cue.text for cue in cues if cue.voice == voice)
        for voice in ("Channel 1", "Channel 2")
    }
    assert said == {
        "Channel 1": "Hello, this is the support line, how can I help?",
        "Channel 2": "My order has never arrived.",
    }
    assert all(cue.end - cue.start >= 1000 for cue in cues)


def test_channels_that_talk_over_each_other_take_turns_and_leave_room_for_their_names():
    long = "several quite lengthy sentences follow without a single pause " * 4
    words = say(long, 0, channel=0, speaker=0) + say(long, 1, channel=1, speaker=1)

    cues = read_srt(to_srt(transcript(words, channels=2)))

    assert [cue.voice[:9] for cue in cues[:4]] == ["Channel 1", "Channel 2", "Channel 1", "Channel 2"]
    assert max(len(line) for cue in cues for line in cue.lines) <= 42


def test_a_channel_with_speakers_names_both():
    words = [*say("Hi.", 0, channel=0, speaker=0), *say("Hi.", 3, channel=1, speaker=0)]
    assert [cue.voice for cue in read_vtt(to_vtt(transcript(words, channels=2)))] == [
        "Channel 1, Speaker 1",
        "Channel 2, Speaker 1",
    ]


def test_a_single_channel_is_not_named():
    assert read_vtt(to_vtt(transcript(say("Hi.", channel=0))))[0].voice == ""


def test_vtt_escapes_what_is_markup():
    text = to_vtt(transcript(say("<b> --> R&D &amp; <v Eve>")))
    assert text.endswith("\n&lt;b&gt; --&gt; R&amp;D &amp;amp; &lt;v Eve&gt;\n")


def test_words_without_punctuation_are_shown_as_heard():
    assert read_srt(to_srt(transcript([{"word": "hello", "start": 0, "end": 1}])))[0].text == "hello"


def test_words_out_of_order_are_put_in_order():
    words = say("one two three")
    assert read_srt(to_srt(transcript(reversed(words))))[0].text == "one two three"


def test_words_without_length_at_one_instant_all_appear():
    words = [{"word": f"w{index}", "start": 2.0, "end": 2.0} for index in range(60)]
    cues = read_srt(to_srt(transcript(words)))
    assert [word for cue in cues for word in cue.text.split()] == [f"w{index}" for index in range(60)]


def test_a_word_wider_than_a_line_has_a_line_of_its_own():
    lines = [line for cue in srt_cues(f"see {'x' * 50} there") for line in cue.lines]
    assert lines == ["see", "x" * 50, "there"]


CHINESE = "今天天气很好，我们一起去公园散步吧。公园里有很多花，还有很多孩子在玩耍。你想不想带上你的相机？"  # noqa: RUF001


@pytest.mark.parametrize(
    "spoken",
    [
        transcript(
            ({"word": c, "start": i * 0.2, "end": i * 0.2 + 0.2} for i, c in enumerate(CHINESE)),
            language="zh",
        ),
        transcript([{"word": CHINESE, "start": 0, "end": 9}], language="zh"),
        transcript(utterances=[{"transcript": CHINESE, "start": 0, "end": 9}], language="zh"),
    ],
    ids=["characters", "one long word", "utterance alone"],
)
def test_chinese_has_no_spaces_and_is_broken_by_width(spoken):
    lines = [line for cue in read_srt(to_srt(spoken)) for line in cue.lines]
    assert "".join(lines) == CHINESE
    assert max(map(len, lines)) <= 21
    assert not [line for line in lines if line[0] in "，。？"]  # noqa: RUF001


def test_no_line_begins_with_a_small_kana():
    (cue,) = srt_cues(" ".join("か" * 11 + "っ" + "か" * 11), language="ja")
    assert cue.lines == ["か" * 11 + "っ", "か" * 11]


def test_a_name_stands_apart_from_unspaced_text():
    words = [
        {"word": "你好", "start": 0, "end": 1, "speaker": 0},
        {"word": "我很好", "start": 1, "end": 2, "speaker": 1},
    ]
    cues = read_srt(to_srt(transcript(words, language="zh")))
    assert [cue.text for cue in cues] == ["Speaker 1: 你好", "Speaker 2: 我很好"]


def test_overlapping_utterances_without_words_stay_in_order():
    texts = ["alpha " * 30, "omega " * 30]
    utterances = [
        {"transcript": text, "start": start, "end": start + 20}
        for text, start in zip(texts, (0, 5), strict=True)
    ]
    cues = read_srt(to_srt(transcript(utterances=utterances)))
    assert " ".join(cue.text for cue in cues) == "".join(texts).strip()


def test_korean_keeps_its_spaces():
    assert (
        to_txt(transcript(say("안녕하세요 여러분 반갑습니다"), language="ko"))
        == "안녕하세요 여러분 반갑습니다\n"
    )


def test_utterances_stand_in_for_missing_words():
    utterances = [
        {"transcript": "Hello there.", "start": 1, "end": 2, "speaker": 0, "words": []},
        {"transcript": "Hi.", "start": 4, "end": 5, "speaker": 1, "words": []},
    ]
    spoken = transcript(text="Hello there. Hi.", utterances=utterances)
    assert to_txt(spoken) == "Speaker 1: Hello there.\n\nSpeaker 2: Hi.\n"
    assert [cue.start for cue in read_srt(to_srt(spoken))] == [1000, 4000]


def test_text_without_times_is_still_text():
    assert to_txt(transcript(text="Corrected by hand.")) == "Corrected by hand.\n"
    assert to_srt(transcript(text="Corrected by hand.")) == ""


def test_txt_has_paragraphs_at_long_pauses_and_changes_of_speaker():
    words = [
        *say("One.", 0, speaker=0),
        *say("Two.", 1.5, speaker=0),
        *say("Three.", 5, speaker=0),
        *say("Four.", 6, speaker=1),
    ]
    assert to_txt(transcript(words)) == "Speaker 1: One. Two.\n\nThree.\n\nSpeaker 2: Four.\n"


def test_txt_has_the_paragraphs_that_people_made():
    one, two, three = say("One.", 0), say("Two.", 0.5), say("Three.", 9)
    words = [*one, {**two[0], "paragraph": True}, {**three[0], "paragraph": False}]

    assert to_txt(transcript(words)) == "One.\n\nTwo. Three.\n"


def test_txt_of_an_undiarized_transcript_names_nobody():
    assert to_txt(transcript(say("One. Two."))) == "One. Two.\n"


def test_json_has_the_six_fields_in_readable_letters():
    spoken = transcript(say("né"), text="né")
    written = json.loads(to_json(spoken))
    stored = {name: value for name, value in vars(spoken).items() if name != "speakers"}
    assert written == stored | {"channels": [{"language": None}]}
    assert list(written) == ["text", "confidence", "language", "words", "utterances", "channels"]
    assert "né" in to_json(spoken)


def test_a_parsed_answer_exports_as_it_is():
    words = say("Hello there.")
    answer = {"results": {"channels": [{"alternatives": [{"transcript": "Hello there.", "words": words}]}]}}
    assert to_txt(parse(answer)) == "Hello there.\n"


TEXTS = st.one_of(
    st.sampled_from(
        ["the", "of", "and", "so,", "Yes.", "-->", "<b>", "R&D", "1,000", "a b", "\u2028", "“No!”"]
    ),
    st.text("abcdefghij.,?", min_size=1, max_size=12),
    st.text("今天气，。きょうは", min_size=1, max_size=60),  # noqa: RUF001
    st.text("אבג دهي करना สวัสดี", min_size=1, max_size=20),
    st.text("x", min_size=40, max_size=100),
)
TIMES = st.one_of(st.just(0.0), st.floats(0, 0.6), st.floats(0, 12))


@st.composite
def transcripts(draw):
    voices = draw(
        st.sampled_from([[{}], [{"speaker": 0}, {"speaker": 1}, {}], [{"channel": 0}, {"channel": 1}]])
    )
    words, start = [], draw(st.sampled_from([0.0, 59.9, 359_990.0]))
    for text, gap, duration, voice in draw(
        st.lists(st.tuples(TEXTS, TIMES, TIMES, st.sampled_from(voices)), max_size=60)
    ):
        start += gap
        words.append({"word": text, "start": start, "end": start + duration, **voice})
    language = draw(st.sampled_from(["en", "fr", "zh", ""]))
    return transcript(words, language=language, channels=2 if "channel" in voices[0] else 1)


def letters(text):
    return "".join(text.split())


def letters_by_channel(cues):
    heard = {}
    for cue in cues:
        channel = found[0] if (found := re.match(r"Channel \d+", cue.voice)) else ""
        heard[channel] = heard.get(channel, "") + letters("".join(cue.lines))
    return {channel: said for channel, said in heard.items() if said}


def expected_letters(spoken):
    heard = {}
    for word in spoken.words:
        channel = f"Channel {word['channel'] + 1}" if len(spoken.channels) > 1 else ""
        heard[channel] = heard.get(channel, "") + letters(word["word"])
    return {channel: said for channel, said in heard.items() if said}


def without_names(cues):
    return [
        Cue(cue.start, cue.end, cue.voice, [re.sub(rf"^{NAME}:( |$)", "", cue.lines[0]), *cue.lines[1:]])
        for cue in cues
    ]


@given(transcripts())
def test_every_word_appears_once_and_in_order(spoken):
    expected = expected_letters(spoken)
    assert letters_by_channel(read_vtt(to_vtt(spoken))) == expected
    assert letters_by_channel(without_names(read_srt(to_srt(spoken)))) == expected
    if not any("speaker" in word or "channel" in word for word in spoken.words):
        assert letters(to_txt(spoken)) == "".join(expected.values())


@given(transcripts())
def test_words_keep_their_spaces_within_a_line(spoken):
    words = {part for word in spoken.words for part in word["word"].split()}
    for cue in read_vtt(to_vtt(spoken)):
        for part in cue.text.split():
            assert part in words or any(letter in part for letter in "今天气，。きょうはสวัสดี")  # noqa: RUF001


@given(spoken=transcripts())
@pytest.mark.parametrize(("export", "read"), [(to_srt, read_srt), (to_vtt, read_vtt)])
def test_cues_never_overlap_nor_go_back(spoken, export, read):
    cues = read(export(spoken))
    assert all(0 < cue.end - cue.start <= 7000 for cue in cues)
    assert all(after.start - before.end >= GAP_MS for before, after in pairwise(cues))


@given(spoken=transcripts())
@pytest.mark.parametrize(("export", "read"), [(to_srt, read_srt), (to_vtt, read_vtt)])
def test_a_cue_has_two_lines_no_wider_than_42_unless_a_single_word_is(spoken, export, read):
    for cue in read(export(spoken)):
        assert len(cue.lines) <= 2
        assert all(len(line) <= 42 or " " not in line for line in cue.lines)


def test_voices_that_have_names_are_called_by_them():
    words = [*say("Hello.", speaker=0), *say("Bye & <b>.", 3.0, speaker=1)]
    named = transcript(words, utterances=[{"start": 0.0, "end": 1.0, "channel": 0, "speaker": 0}])
    named.speakers = [{"channel": None, "speaker": 0, "name": "Ann <3 & Co"}]

    assert to_txt(named) == "Ann <3 & Co: Hello.\n\nSpeaker 2: Bye & <b>.\n"
    assert "\nAnn <3 & Co: Hello.\n" in to_srt(named)
    assert "\n<v Ann &lt;3 &amp; Co>Hello.\n" in to_vtt(named)
    exported = json.loads(to_json(named))
    assert [word.get("speaker_name") for word in exported["words"]] == ["Ann <3 & Co", None, None, None]
    assert exported["utterances"][0]["speaker_name"] == "Ann <3 & Co"


def test_a_name_is_that_of_a_voice_of_its_channel():
    words = [*say("Hello.", channel=0), *say("Bye.", 3.0, channel=1)]
    named = transcript(words, channels=2)
    named.speakers = [{"channel": 1, "speaker": None, "name": "Ann"}]

    assert to_txt(named) == "Channel 1: Hello.\n\nAnn: Bye.\n"
