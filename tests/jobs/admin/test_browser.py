"""The admin in a real browser: its scripts, and how it fits."""

import pytest
from django.urls import reverse

from jobs import lifecycle
from jobs.lifecycle import CallReport
from jobs.models import ApiKey, Batch, Status, TranscriptionJob
from tests.browser import CHROMIUM
from tests.jobs.admin.conftest import wav
from tests.jobs.rows import RESULT, ago, make_job, make_project, make_recording

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
UPLOAD = reverse("admin:jobs_transcriptionjob_upload")


def tab(page):
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)


def test_uploaded_files_become_jobs_one_by_one_and_the_page_of_one_finishes_by_itself(
    new_page, provider, tmp_path
):
    provider.set_transcript("Nobody told the walrus.")
    provider.set_faults("latency=1")
    audio, text = tmp_path / "walrus.wav", tmp_path / "notes.txt"
    audio.write_bytes(wav().getvalue())
    text.write_text("These are words, not sounds. " * 100)
    page = new_page()
    page.open(UPLOAD)

    page.choose_files("input[type=file]", audio, text)
    page.wait_for("document.querySelectorAll('.job-upload').length === 2")
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")
    refusal = page.wait_for("document.querySelector('[data-state=refused] .job-upload-said')?.textContent")
    page.wait_for("document.querySelector('[data-state=accepted] a')")
    page.wait_for("document.querySelector('#upload-status').textContent.startsWith('1 accepted, 1 refused')")
    assert (
        page.evaluate("document.querySelector('#upload-total').textContent").strip().endswith(", 1 refused")
    )
    page.evaluate("document.querySelector('[data-state=accepted] a').click()")
    page.wait_for("document.querySelector('.job-state')?.textContent.includes('completed')")

    assert "walrus" in page.evaluate("document.querySelector('.job-transcript').textContent")
    assert len(refusal) > 20
    assert TranscriptionJob.objects.get().recording.filename == "walrus.wav"
    assert [complaint for complaint in page.complaints if "422" not in complaint] == []


def test_files_that_are_kept_together_become_one_sealed_batch(new_page, tmp_path):
    page = new_page()
    page.open(UPLOAD)
    for seconds, name in enumerate(("a.wav", "b.wav", "c.wav"), 1):
        (tmp_path / name).write_bytes(wav(seconds=seconds).getvalue())
    page.choose_files("input[type=file]", *(tmp_path / name for name in ("a.wav", "b.wav", "c.wav")))
    page.evaluate("document.querySelector('[name=batch_name]').value = 'March'")
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")

    link = page.wait_for("document.querySelector('#upload-status a')?.textContent")
    page.evaluate("document.querySelector('#upload-status a').click()")
    page.wait_for("document.body.textContent.includes('of 3 jobs ended')")

    batch = Batch.objects.get()
    assert link == "See the batch"
    assert (batch.name, batch.sealed_at is not None) == ("March", True)
    assert TranscriptionJob.objects.filter(batch=batch).count() == 3
    assert page.complaints == []


def test_a_folder_is_its_files_without_what_is_hidden(new_page, tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a.wav", "below/b.wav", ".DS_Store"):
        (tmp_path / name).write_bytes(wav().getvalue())
    page = new_page()
    page.open(UPLOAD)

    page.choose_files("#upload-folder", tmp_path)

    page.wait_for("document.querySelector('.job-upload')")
    names = page.evaluate("[...document.querySelectorAll('.job-upload-name')].map(name => name.textContent)")
    assert sorted(names) == ["a.wav", "b.wav"]


def test_what_was_submitted_before_is_not_sent_again_unless_wanted(new_page, tmp_path):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    for state in ("accepted", "duplicate"):
        page.open(UPLOAD)
        page.choose_files("input[type=file]", audio, audio)
        page.wait_for("document.querySelector('.job-upload')")
        assert page.evaluate("document.querySelectorAll('.job-upload').length") == 1
        page.evaluate("document.querySelector('#upload button[type=submit]').click()")
        page.wait_for(f"document.querySelector('[data-state={state}] a')")

    first = TranscriptionJob.objects.get()
    assert str(first.pk) in page.evaluate("document.querySelector('[data-state=duplicate] a').href")
    page.evaluate("document.querySelector('.job-upload-actions button').click()")
    page.wait_for("document.querySelector('[data-state=accepted] a')")

    assert TranscriptionJob.objects.count() == 2
    assert page.complaints == []


def test_a_file_that_was_refused_is_sent_again_by_itself(new_page, tmp_path, barriers):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    page.open(UPLOAD)
    page.evaluate("document.querySelector('[name=other_options]').value = '{'")
    page.choose_files("input[type=file]", audio)
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")
    page.wait_for("document.querySelector('[data-state=refused]')")
    assert barriers(page) == []

    page.evaluate("document.querySelector('[name=other_options]').value = ''")
    page.evaluate("document.querySelector('.job-upload-actions button').click()")

    page.wait_for("document.querySelector('[data-state=accepted] a')")


def test_what_cannot_be_taken_back_is_asked_about_first(new_page):
    key, _ = ApiKey.objects.issue(make_project(), "Backend")
    page = new_page()
    page.open(reverse("admin:jobs_apikey_change", args=[key.pk]))

    page.evaluate("document.querySelector('[name=jobs_apikey_revoke_this]').click()")

    page.wait_for("document.body.textContent.includes('is revoked for good')")
    assert page.asked == ["confirm"]


def test_who_is_signed_out_signs_in_again_and_loses_nothing_chosen(new_page, live_server, root_client):
    page = new_page()
    page.open(UPLOAD)
    page.call("Network.deleteCookies", name="sessionid", url=live_server.url)
    page.evaluate(
        "document.getElementById('upload').elements.url.value = 'https://example.com/call.wav';"
        "document.querySelector('#upload button[type=submit]').click()"
    )
    page.wait_for("document.querySelector('.job-upload-said').textContent.startsWith('You are signed out')")

    page.set_cookie(live_server.url, "sessionid", root_client.cookies["sessionid"].value)
    page.evaluate("document.querySelector('.job-upload-actions button').click()")

    page.wait_for("document.querySelector('.job-upload').dataset.state === 'accepted'")


def test_what_was_accepted_without_the_answer_coming_is_not_sent_again(new_page, tmp_path):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    page.open(UPLOAD)
    page.evaluate("""(send => {
        XMLHttpRequest.prototype.send = function (body) {
            if (body instanceof FormData) {
                Object.defineProperty(this, "status", { value: 0 });
                Object.defineProperty(this, "responseText", { value: "" });
            }
            return send.call(this, body);
        };
    })(XMLHttpRequest.prototype.send)""")

    page.choose_files("input[type=file]", audio)
    # Nothing tells of a URL whether it was submitted: that is left to people.
    page.evaluate("document.querySelector('[name=url]').value = 'https://example.com/a.wav'")
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")
    refusal = page.wait_for("document.querySelector('[data-state=refused] .job-upload-said')?.textContent")
    link = page.wait_for("document.querySelector('[data-state=accepted] a')?.href")

    assert "Try again if there is no job of it" in refusal
    assert str(TranscriptionJob.objects.exclude(recording=None).get().pk) in link
    assert TranscriptionJob.objects.count() == 2


def test_a_batch_is_begun_with_the_first_file_that_is_sent(new_page, tmp_path):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    for state in ("accepted", "duplicate"):
        page.open(UPLOAD)
        page.choose_files("input[type=file]", audio)
        page.evaluate("document.querySelector('[name=batch_name]').value = 'March'")
        for _ in range(2):
            page.wait_for("!document.querySelector('#upload button[type=submit]').disabled")
            page.evaluate("document.querySelector('#upload button[type=submit]').click()")
            page.wait_for(f"document.querySelector('[data-state={state}] a')")
    page.wait_for("!document.querySelector('#upload button[type=submit]').disabled")

    assert Batch.objects.count() == 1


def test_a_large_file_goes_in_pieces_and_on_where_it_stood(new_page, tmp_path):
    audio = tmp_path / "long.wav"
    audio.write_bytes(wav(seconds=2300).getvalue())
    page = new_page()
    page.open(UPLOAD)
    # The connection breaks once, in the middle of the second piece.
    page.evaluate("""(send => {
        let pieces = 0;
        XMLHttpRequest.prototype.send = function (body) {
            if (body instanceof Blob && (pieces += 1) === 2) {
                this.upload.addEventListener("progress", () => this.abort(), { once: true });
            }
            return send.call(this, body);
        };
    })(XMLHttpRequest.prototype.send)""")

    page.choose_files("input[type=file]", audio)
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")

    page.wait_for("document.querySelector('[data-state=accepted] a')", 60)
    job = TranscriptionJob.objects.get()
    assert (job.recording.filename, job.recording.size) == ("long.wav", audio.stat().st_size)
    assert job.duration == 2300
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('upload:'))") == []


def test_a_file_shows_its_progress_only_while_it_is_sent(new_page, tmp_path):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav(seconds=60).getvalue())
    page = new_page()
    page.open(UPLOAD)
    shown = "getComputedStyle(document.querySelector('.job-upload progress')).display !== 'none'"

    page.choose_files("input[type=file]", audio)
    page.wait_for("document.querySelector('.job-upload progress')")
    before = page.evaluate(shown)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
    page.call("Network.emulateNetworkConditions", **slow)
    page.evaluate("document.querySelector('#upload button[type=submit]').click()")
    page.wait_for(shown)
    page.wait_for("document.querySelector('[data-state=accepted] a')")
    after = page.evaluate(shown)

    assert (before, after) == (False, False)


def test_whoever_walks_the_form_by_keyboard_sees_where_they_are(new_page):
    page = new_page()
    page.open(UPLOAD)
    page.wait_for("!document.documentElement.hasAttribute('x-cloak')")
    page.evaluate("document.querySelector('[name=language]').focus()")

    looks = {}
    while (name := page.evaluate("document.activeElement.name || ''")) not in looks and name:
        looks[name] = page.evaluate(
            "(style => style.outlineStyle !== 'none' || style.boxShadow !== 'none')"
            "(getComputedStyle(document.activeElement))"
        )
        while page.evaluate("document.activeElement.name || ''") == name:
            tab(page)

    assert set(looks) >= {"model", "smart_format", "multichannel", "redact", "keyterm", "other_options"}
    assert [name for name, visible in looks.items() if not visible] == []


def test_a_wrong_option_is_shown_at_the_file_and_can_be_corrected(new_page, provider, tmp_path):
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    page.open(UPLOAD)
    page.choose_files("input[type=file]", audio)
    page.evaluate("document.querySelector('[name=other_options]').value = '{\"smartformat\": true}'")

    submit = "document.querySelector('#upload button[type=submit]').click()"
    page.evaluate(submit)
    told = page.wait_for("document.querySelector('[data-state=refused] .job-upload-said')?.textContent")
    page.evaluate("document.querySelector('[name=other_options]').value = ''")
    page.wait_for("!document.querySelector('#upload button[type=submit]').disabled")
    page.evaluate(submit)
    page.wait_for("document.querySelector('[data-state=accepted] a')")

    assert "did you mean smart_format?" in told
    assert TranscriptionJob.objects.count() == 1


def test_a_file_that_is_too_large_is_never_sent(new_page, settings, tmp_path):
    settings.MAX_UPLOAD_BYTES = 1000
    audio = tmp_path / "call.wav"
    audio.write_bytes(wav().getvalue())
    page = new_page()
    page.open(UPLOAD)

    page.choose_files("input[type=file]", audio)

    told = page.wait_for("document.querySelector('.job-upload-said')?.textContent")
    assert told == "It is larger than 1000 bytes. Split or compress it."


def test_the_dashboard_keeps_itself_up_to_date(new_page):
    page = new_page()
    page.open(reverse("admin:index"))
    page.wait_for("document.body.textContent.includes('Nothing is queued')")

    make_job(queue="transcription.new")

    page.wait_for("document.body.textContent.includes('No worker is alive for transcription.new')")
    assert page.complaints == []


def test_a_batch_that_is_watched_tells_in_the_title_how_far_it_is_and_that_it_is_done(new_page):
    project = make_project()
    batch = Batch.objects.create(project=project, name="March", sealed_at=ago(60))
    done, running = (make_job(Status.RUNNING, project=project, batch=batch) for _ in range(2))
    lifecycle.complete(done, RESULT)
    page = new_page()
    page.open(reverse("admin:jobs_batch_change", args=(batch.pk,)))
    page.wait_for("document.title.startsWith('50 %, March')")

    lifecycle.complete(running, RESULT)

    page.wait_for("document.title.startsWith('Done: March')")
    assert page.complaints == []


def test_a_page_that_is_logged_out_leads_to_the_login(new_page, root_client):
    page = new_page()
    page.open(reverse("admin:jobs_transcriptionjob_change", args=(make_job().pk,)))

    root_client.logout()

    page.wait_for("location.pathname.endsWith('/login/')")


def test_the_audio_can_be_listened_to_from_anywhere_in_it(new_page):
    project = make_project()
    recording = make_recording(project, wav(seconds=300).getvalue())
    page = new_page()
    page.open(
        reverse(
            "admin:jobs_transcriptionjob_change", args=(make_job(recording=recording, project=project).pk,)
        )
    )
    player = "document.querySelector('audio')"

    page.evaluate(f"{player}.muted = true; {player}.play()")
    page.wait_for(f"{player}.currentTime > 0")
    page.evaluate(f"{player}.currentTime = 280")

    page.wait_for(f"!{player}.seeking && {player}.currentTime > 280.1")
    assert page.evaluate(f"{player}.duration") == 300
    assert page.complaints == []


def test_a_job_that_ends_stops_nobody_from_listening(new_page):
    project = make_project()
    recording = make_recording(project, wav(seconds=300).getvalue())
    job = make_job(Status.RUNNING, recording=recording, project=project)
    page = new_page()
    page.open(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)))
    player = "document.querySelector('audio')"
    page.evaluate(f"{player}.muted = true; {player}.play()")

    lifecycle.complete(job, RESULT)
    page.wait_for("document.querySelector('.job-state').textContent.includes('completed')")
    listened = page.evaluate(f"!{player}.paused && !document.querySelector('.job-transcript')")
    page.evaluate(f"{player}.pause()")

    page.wait_for("document.querySelector('.job-transcript')")
    assert listened


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_and_loads_nothing_from_elsewhere(new_page, superuser, width, dark):
    project = make_project("A project whose name is longer than anybody would want it to be")
    recording = make_recording(project)
    done = make_job(
        Status.RUNNING, project=project, recording=recording, callback_url=f"https://example.com/{'a' * 200}"
    )
    lifecycle.complete(done, RESULT)
    failed = make_job(Status.RUNNING, project=project, url=f"https://example.com/{'b' * 200}.wav")
    lifecycle.fail(failed, CallReport(error_code="provider_rejected", error_message="x" * 200))
    key, _ = ApiKey.objects.issue(project, "Backend")
    page = new_page(width=width, height=844, dark=dark)

    for name, *arguments in [
        ("admin:index",),
        ("admin:jobs_transcriptionjob_changelist",),
        ("admin:jobs_transcriptionjob_upload",),
        ("admin:jobs_transcriptionjob_change", done.pk),
        ("admin:jobs_transcriptionjob_change", failed.pk),
        ("admin:jobs_transcriptionjob_requeue", failed.pk),
        ("admin:jobs_recording_change", recording.pk),
        ("admin:jobs_delivery_changelist",),
        ("admin:jobs_project_change", project.pk),
        ("admin:jobs_apikey_change", key.pk),
        ("admin:auth_user_change", superuser.pk),
    ]:
        page.open(reverse(name, args=arguments))
        page.wait_for("!document.documentElement.hasAttribute('x-cloak')")

        assert page.evaluate("document.documentElement.classList.contains('dark')") is dark, name
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow == 0, name
        loaded = page.evaluate(
            "performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)"
        )
        assert set(loaded) <= {page.evaluate("location.origin")}, name
    assert page.complaints == []
