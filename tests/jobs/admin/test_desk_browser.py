"""The transcript desk in a real browser."""

import pytest
from django.urls import reverse

from jobs import lifecycle
from jobs.corrections import correct
from jobs.models import Status
from jobs.transcripts.corrections import Edit
from jobs.transcripts.exports import to_txt
from jobs.transcripts.results import parse
from tests.browser import CHROMIUM
from tests.environment import ROOT
from tests.jobs.admin.conftest import wav
from tests.jobs.rows import make_job, make_project, make_recording

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
SAID = (
    (0, "Good morning. Mister Miller is here.", {"Miller": 0.4}),
    (1, "Welcome, mister Miller!", {"Welcome,": 0.5}),
    (0, "He comes from Zurich.", {}),
)
LOADED = "document.querySelector('.desk-turn')"
SAVED = "document.getElementById('desk-status').textContent.startsWith('Saved')"


def answer():
    words, now = [], 1.0
    for speaker, text, unsure in SAID:
        for written in text.split():
            word = {"word": written.strip(".,!").lower(), "punctuated_word": written, "speaker": speaker}
            words.append(word | {"start": now, "end": now + 0.4, "confidence": unsure.get(written, 0.99)})
            now += 0.5
        now += 2.5
    heard = {"transcript": " ".join(text for _, text, _ in SAID), "confidence": 0.9, "words": words}
    return {"metadata": {"duration": 60.0}, "results": {"channels": [{"alternatives": [heard]}]}}


@pytest.fixture
def job():
    project = make_project()
    recording = make_recording(project, wav(seconds=60).getvalue())
    job = make_job(Status.RUNNING, project=project, recording=recording)
    lifecycle.complete(job, parse(answer()))
    return job


@pytest.fixture
def desk(new_page, job):
    page = new_page()
    page.open(reverse("admin:jobs_transcriptionjob_desk", args=(job.pk,)))
    page.wait_for(LOADED)
    return page


def press(page, key, code, **modifiers):
    bits = sum({"alt": 1, "control": 2, "shift": 8}[name] for name in modifiers)
    named = {"key": key, "code": code, "modifiers": bits}
    page.call("Input.dispatchKeyEvent", type="rawKeyDown", **named)
    page.call("Input.dispatchKeyEvent", type="keyUp", **named)


def type_over(page, text):
    """Where the caret is, or over what is selected."""
    page.call("Input.insertText", text=text)


def texts(page):
    return page.evaluate("[...document.querySelectorAll('.desk-text')].map(box => box.textContent)")


def test_a_click_on_a_word_plays_from_there_and_words_are_marked_as_they_play(desk):
    player = "document.getElementById('desk-audio')"
    desk.wait_for(f"{player}.readyState > 0")

    desk.evaluate(
        "[...document.querySelectorAll('[data-w]')].find(w => w.textContent === 'Welcome,').click()"
    )
    desk.wait_for(f"!{player}.seeking && Math.abs({player}.currentTime - 6.5) < 0.01")
    first = desk.wait_for("document.querySelector('.desk-now')?.textContent")
    desk.evaluate(f"{player}.muted = true; document.activeElement.blur()")
    press(desk, " ", "Space")
    desk.wait_for("document.querySelector('.desk-now')?.textContent === 'mister'")
    press(desk, " ", "Space")
    press(desk, "?", "Slash", shift=True)

    assert desk.evaluate("document.getElementById('desk-keys').open")
    assert first == "Welcome,"
    assert desk.evaluate(f"{player}.paused")
    assert desk.evaluate("document.getElementById('desk-seek').ariaValueText || true")
    assert desk.complaints == []


def test_what_is_corrected_by_keyboard_is_saved_as_a_version_with_names(desk, job):
    press(desk, "n", "KeyN")
    told = desk.wait_for("document.getElementById('desk-status').textContent")
    type_over(desk, "Müller")
    press(desk, "n", "KeyN", alt=True)
    type_over(desk, "Welcome, welcome,")
    desk.evaluate("document.querySelectorAll('button.desk-voice')[1].click()")
    desk.evaluate("document.getElementById('desk-voice-name').value = 'Ann'")
    desk.evaluate("document.querySelector('#desk-voice button[value=apply]').click()")
    desk.wait_for("document.getElementById('desk-save').textContent === 'Save (3)'")
    press(desk, "s", "KeyS", control=True)
    desk.wait_for(SAVED)

    latest = job.transcripts.last()
    assert told == "“Miller”, 40 % sure: 1 of 2."
    assert (latest.version, latest.author) == (2, "root")
    assert to_txt(latest) == (
        "Speaker 1: Good morning. Mister Müller is here.\n\n"
        "Ann: Welcome, welcome, mister Miller!\n\n"
        "Speaker 1: He comes from Zurich.\n"
    )
    first = job.transcripts.first()
    assert latest.words[:3] == first.words[:3]
    assert latest.words[3]["start"] == first.words[3]["start"]
    assert desk.evaluate("document.getElementById('desk-save').disabled")
    assert desk.evaluate(f"localStorage.getItem('desk:{job.pk}')") is None
    assert desk.complaints == []


def put_caret(page, passage, word):
    page.evaluate(
        f"""(box => {{
            const [words] = [[...box.querySelectorAll('[data-w]')]];
            box.focus();
            getSelection().collapse(words[{word}].firstChild, 0);
        }})(document.querySelectorAll('.desk-text')[{passage}])"""
    )


def press_enter(page):
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    page.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **enter)
    page.call("Input.dispatchKeyEvent", type="keyUp", **enter)


def test_a_marked_word_that_is_right_is_confirmed_and_taken_back_by_the_same_key(desk, job):
    marked = "document.getElementById('desk-marked').textContent"
    press(desk, "n", "KeyN")
    seen = []
    for _ in range(3):
        press(desk, "c", "KeyC", alt=True)
        seen.append(desk.evaluate(marked))
    press(desk, "n", "KeyN", alt=True)
    stepped = desk.evaluate("getSelection().toString()")
    press(desk, "s", "KeyS", control=True)
    desk.wait_for(SAVED)

    first, latest = job.transcripts.all()
    assert seen == ["1 is marked", "2 are marked", "1 is marked"]
    assert stepped == "Welcome,"
    assert latest.words[3] == first.words[3] | {"confidence": None}
    assert latest.words[6]["confidence"] == 0.5
    assert desk.evaluate(marked) == "1 is marked"
    assert desk.complaints == []


def test_a_passage_is_split_for_another_speaker_joined_and_kept_so(desk, job):
    put_caret(desk, 0, 2)
    press_enter(desk)
    split = texts(desk)
    press(desk, "Backspace", "Backspace")
    nothing_to_save = desk.evaluate("document.getElementById('desk-save').disabled")

    press_enter(desk)
    desk.evaluate("document.querySelectorAll('button.desk-voice')[1].click()")
    desk.evaluate("document.getElementById('desk-voice-by').value = '1'")
    desk.evaluate("document.querySelector('#desk-voice button[value=apply]').click()")
    put_caret(desk, 2, 0)
    press(desk, "Backspace", "Backspace")
    joined = texts(desk)
    press(desk, "s", "KeyS", control=True)
    desk.wait_for(SAVED)

    latest = job.transcripts.last()
    assert split == ["Good morning.", "Mister Miller is here.", *(text for _, text, _ in SAID[1:])]
    assert nothing_to_save
    assert joined == ["Good morning.", "Mister Miller is here. Welcome, mister Miller!", SAID[2][1]]
    assert texts(desk) == joined
    assert to_txt(latest) == "\n\n".join(
        (f"Speaker 1: {joined[0]}", f"Speaker 2: {joined[1]}", f"Speaker 1: {joined[2]}\n")
    )
    assert desk.complaints == []


def test_find_and_replace_changes_every_passage_and_can_be_undone(desk):
    desk.evaluate("document.getElementById('desk-find-open').click()")
    desk.evaluate("document.getElementById('desk-find-what').value = 'mister miller'")
    desk.evaluate("document.getElementById('desk-find-by').value = 'Dr. Müller'")
    desk.evaluate("document.getElementById('desk-replace-all').click()")
    replaced = texts(desk)
    desk.evaluate("document.getElementById('desk-undo-all').click()")

    assert replaced == ["Good morning. Dr. Müller is here.", "Welcome, Dr. Müller!", SAID[2][1]]
    assert texts(desk) == [text for _, text, _ in SAID]
    assert desk.evaluate("document.getElementById('desk-save').disabled")


def test_what_was_not_saved_is_warned_of_and_there_again(desk):
    press(desk, "n", "KeyN")
    type_over(desk, "Müller")
    desk.wait_for("document.getElementById('desk-save').textContent === 'Save (1)'")

    desk.evaluate("window.isOld = true")
    desk.call("Page.reload")
    desk.wait_for(f"!window.isOld && {LOADED}")
    desk.wait_for("document.getElementById('desk-save').textContent === 'Save (1)'")

    assert desk.asked == ["beforeunload"]
    assert texts(desk)[0] == "Good morning. Mister Müller is here."
    assert "not saved" in desk.evaluate("document.getElementById('desk-status').textContent")


def test_who_is_signed_out_signs_in_in_another_tab_and_saves_what_was_written(desk, job, new_page, superuser):
    press(desk, "n", "KeyN")
    type_over(desk, "Müller")
    superuser.set_password("another")
    superuser.save()  # which ends the sessions there were
    press(desk, "s", "KeyS", control=True)
    desk.wait_for("document.getElementById('desk-problem').textContent.includes('signed out')")

    other = new_page()
    other.open(reverse("admin:login"))
    other.evaluate(
        "document.getElementById('id_username').value = 'root';"
        "document.getElementById('id_password').value = 'another';"
        "document.getElementById('login-form').submit()"
    )
    other.wait_for("!document.getElementById('login-form') && document.readyState === 'complete'")
    press(desk, "s", "KeyS", control=True)

    desk.wait_for(SAVED)
    assert "Müller" in job.transcripts.get(version=2).text


def test_who_saves_second_is_told_and_keeps_what_does_not_collide(desk, job):
    desk.evaluate("document.querySelectorAll('.desk-text')[0].focus()")
    press(desk, "n", "KeyN", alt=True)
    type_over(desk, "Müller")
    correct(job, "ann", 1, edits=[Edit([9, 10, 11, 12], "She comes from Basel.")])

    desk.evaluate("document.getElementById('desk-save').click()")
    told = desk.wait_for("document.getElementById('desk-problem').textContent")
    desk.evaluate("document.querySelector('#desk-problem button').click()")
    desk.wait_for("document.getElementById('desk-status').textContent.startsWith('This is version 2')")
    desk.evaluate("document.getElementById('desk-save').click()")
    desk.wait_for(SAVED)

    assert "Ann saved version 2 meanwhile" in told
    assert job.transcripts.last().text == (
        "Good morning. Mister Müller is here. Welcome, mister Miller! She comes from Basel."
    )


def test_a_voice_is_given_to_words_of_the_version_that_is_shown(desk, job):
    desk.evaluate("""(fetch => {
        window.saves = 0;
        const released = new Promise(release => { window.release = release; });
        window.fetch = async (address, asked) => {
            if (asked?.method === "POST") {
                window.saves += 1;
                await released;
            }
            return fetch(address, asked);
        };
    })(window.fetch)""")
    ask, is_asked = (
        "document.querySelectorAll('button.desk-voice')[1].click()",
        "document.getElementById('desk-voice').open",
    )
    press(desk, "n", "KeyN")
    type_over(desk, "Müller")
    press(desk, "s", "KeyS", control=True)
    desk.evaluate(ask)
    asked_while_saving = desk.evaluate(is_asked)
    desk.evaluate("window.release()")
    desk.wait_for(SAVED)

    press(desk, "n", "KeyN")
    type_over(desk, "Hello,")
    desk.evaluate(ask)
    press(desk, "s", "KeyS", control=True)

    assert (asked_while_saving, desk.evaluate(is_asked)) == (False, True)
    assert desk.evaluate("window.saves") == 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_desk_and_its_changes_fit_and_keep_nobody_out(new_page, job, barriers, width, dark):
    correct(job, "ann", 1, edits=[Edit([3], "Müller")])
    page = new_page(width=width, height=844, dark=dark)
    shots = ROOT / "var" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)

    for name in ("desk", "desk_changes"):
        page.open(reverse(f"admin:jobs_transcriptionjob_{name}", args=(job.pk,)))
        page.wait_for("!document.documentElement.hasAttribute('x-cloak')")
        page.wait_for(f"{LOADED} || document.querySelector('.desk-changes')")
        page.screenshot(shots / f"{name}-{width}.png", whole=False)
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow == 0, name
        assert barriers(page) == [], name
    assert page.complaints == []
