"""What two versions say differently."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.transcripts.corrections import align
from jobs.transcripts.differences import changes
from tests.jobs.transcripts.test_corrections import aligned, heard, said


def shown(found):
    return [(change.before, change.after) for change in found[0]]


def test_a_change_stands_in_its_context_at_its_time():
    words = said("one two three four five six seven")

    [change], _ = changes(words, aligned(words, "one two three four 5 six seven"))

    assert change == (words[4]["start"], "one two three four", "five", "5", "six seven")


def test_what_was_struck_out_at_the_end_is_told():
    words = said("one two")

    assert shown(changes(words, aligned(words, "one"))) == [("two", "")]


def test_another_run_is_compared_by_what_it_says():
    assert shown(changes(said("one two three", 0.0), said("one too three", 0.05))) == [("two", "too")]


def test_terms_are_what_was_written_for_something_else_and_never_heard():
    words = said("ask mister miller of the data base please. thanks")

    after = aligned(words, "ask Mister Müller of the PostgreSQL database, please. thanks a lot")

    assert changes(words, after)[1] == ["Müller", "PostgreSQL database"]


def test_the_most_frequent_term_is_first():
    words = said("x1 a y1 b x2")

    assert changes(words, aligned(words, "Limmat a Zürich b Limmat"))[1] == ["Limmat", "Zürich"]


@given(heard(), st.lists(st.sampled_from(["a", "the", "Miller"]), min_size=1, max_size=8).map(" ".join))
def test_changes_made_to_the_old_version_are_the_new_one(words, text):
    after = [word for _, word in align(words, text)]

    assert changes(words, words) == changes(after, after) == ([], [])
    assert bool(changes(words, after)[0]) == (
        [word["punctuated_word"] for word in words] != [word["punctuated_word"] for word in after]
    )
