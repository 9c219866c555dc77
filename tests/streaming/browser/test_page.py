"""The page /live/, with all that is behind it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest

from jobs.grants import grant
from jobs.models import ApiKey
from streaming.models import LiveSession
from streaming.transcript import transcript_of
from tests.browser import Page
from tests.conditions import wait_until
from tests.faults.harness import Web
from tests.streaming.browser.conftest import PERMITTED, PRETENDED, RECORDING, SPOKEN, spoken_clearly
from tests.streaming.cable import Cable

pytestmark = pytest.mark.django_db(transaction=True)
CAPTIONS = "document.getElementById('said').textContent"
STATUS = "document.getElementById('status').dataset.state"


class Site:
    """Another site, which has one page."""

    def __init__(self, page: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def press(page: Page) -> None:
    page.evaluate("document.getElementById('toggle').click()")


def pass_time(page: Page, milliseconds: int) -> None:
    """Of speech."""
    until = page.evaluate(f"performance.now() + {milliseconds}")
    page.wait_for(f"performance.now() > {until}", seconds=60)


def captions(page: Page) -> list[str]:
    return [word.strip(".").lower() for word in page.evaluate(CAPTIONS).split()]


def speak_to_the_end(page: Page) -> None:
    page.wait_for(f"givenSamples > {len(RECORDING) / 2}", seconds=90)
    press(page)
    page.wait_for(f"{STATUS} === 'ended'", seconds=60)


def what_is_stored() -> list[str]:
    """The words of the only session, once it has ended."""
    wait_until(lambda: LiveSession.objects.get().is_ended)
    return [word["word"].strip(".").lower() for word in transcript_of(LiveSession.objects.get()).words]


def assert_all_is_there_once(page: Page) -> None:
    clear = spoken_clearly(page)
    for told in (captions(page), what_is_stored()):
        assert " ".join(word for word in told if word in clear) == " ".join(clear)
        # A word with a hole in it is heard as two.
        assert len(told) <= len(clear) + 2 * (len(SPOKEN) - len(clear)), told


def test_what_is_said_over_a_cut_of_the_network_is_neither_lost_nor_repeated(
    browser, open_page, live, provider
):
    with Cable(live.port) as cable:
        # Too small for all that is said.
        page = open_page(browser, cable.port, width=390, height=500)
        press(page)
        page.wait_for(f"{CAPTIONS}.split(' ').length > 8", seconds=60)
        cable.cut()
        page.wait_for(f"{STATUS} === 'connecting'")
        pass_time(page, 3000)
        cable.mend()
        speak_to_the_end(page)
        last = page.evaluate(
            "(({ scrollTop, clientHeight, scrollHeight }) => scrollHeight - scrollTop - clientHeight)"
            "(document.getElementById('captions'))"
        )

    assert last < 2, "the last words are in sight"
    assert_all_is_there_once(page)
    session = LiveSession.objects.get()
    assert (session.reason, session.epoch) == ("finished", 2)
    assert session.client_latency["results"] > 5


def test_what_is_said_while_the_server_is_killed_and_started_again_is_neither_lost_nor_repeated(
    browser, open_page, provider, database_url, settings, tmp_path
):
    environment = {
        "DATABASE_URL": database_url,
        "DEEPGRAM_BASE_URL": provider.url,
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": settings.SECRET_KEY,
    }
    with Web(environment) as web:
        page = open_page(browser, web.port)
        press(page)
        page.wait_for(f"{CAPTIONS}.split(' ').length > 8", seconds=60)
        web.kill()
        page.wait_for(f"{STATUS} === 'connecting'")
        web.start()
        speak_to_the_end(page)
        assert_all_is_there_once(page)


def test_the_transcript_can_be_downloaded_at_the_end(browser, open_page, provider):
    page = open_page(browser)
    press(page)
    page.wait_for(f"{CAPTIONS}.split(' ').length > 8", seconds=60)
    press(page)
    page.wait_for("!document.getElementById('outcome').hidden", seconds=60)

    for form in ("txt", "srt", "vtt", "json"):
        text = page.evaluate(
            f"fetch(document.querySelector('[data-form={form}]').href).then((answer) => answer.text())"
        )
        assert SPOKEN[4] in text, form
    figures = page.evaluate("document.getElementById('outcome-figures').textContent")
    assert figures.startswith(f"{len(captions(page))} words in 0:")
    page.evaluate("document.querySelector('[data-stream]').click()")
    page.wait_for(
        f"location.pathname.startsWith('/admin/') && document.body.textContent.includes('{SPOKEN[4]}')"
    )
    assert page.complaints == []


def test_the_page_is_worked_by_keyboard_alone(browser, open_page, provider):
    page = open_page(browser)

    def key(name: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            page.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=code,
                text=text,
            )

    passed = []
    while page.evaluate("document.activeElement.id") != "toggle" and len(passed) < 20:
        key("Tab", 9)
        passed.append(page.evaluate("document.activeElement.id"))
    key("Enter", 13, "\r")
    page.wait_for(f"{STATUS} === 'connected'", seconds=30)
    key("Enter", 13, "\r")
    page.wait_for(f"{STATUS} === 'ended'", seconds=30)

    assert {"captions", "id_microphone", "id_language", "id_model", "id_project", "id_record"} < set(passed)


def test_pages_of_others_transcribe_with_a_grant(browser, live, provider, project):
    with Site(b"<!DOCTYPE html><title>Somebody else's</title>") as site:
        key, _ = ApiKey.objects.issue(project, "site")
        ApiKey.objects.filter(pk=key.pk).update(allowed_origins=[site.origin])
        page = browser.page()
        page.open(site.origin)
        ours = f"http://127.0.0.1:{live.port}/static/streaming/live.js"
        page.evaluate(
            f"""(async () => {{
                const {{ LiveTranscription }} = await import("{ours}");
                const options = {{ model: "nova-3" }};
                window.live = new LiveTranscription({{ options, grant: async () => "{grant(key, 60)}" }});
                await live.start();
            }})()"""
        )
        page.wait_for("live.results.some(({ text }) => text)", seconds=60)
        outcome = page.evaluate("live.stop()")
        heard = page.evaluate("live.results.map(({ text }) => text).join(' ')")
        page.close()

    words = [word.strip(".").lower() for word in heard.split()]
    assert outcome["code"] == "ended"
    assert not set(words).isdisjoint(SPOKEN)
    assert what_is_stored() == words
    assert LiveSession.objects.get().key == key


def test_a_microphone_that_is_refused_is_explained(launch, open_page):
    page = open_page(launch(PRETENDED))
    origin = page.evaluate("location.origin")
    page.call("Browser.setPermission", permission={"name": "microphone"}, setting="denied", origin=origin)

    press(page)
    told = page.wait_for("document.getElementById('problem').textContent")
    usable = page.evaluate("!document.getElementById('toggle').disabled")

    assert "Allow it in the address bar" in told
    assert usable
    assert page.complaints == []


def test_a_microphone_that_is_not_there_is_explained(launch, open_page):
    page = open_page(launch(PERMITTED))
    devices = page.evaluate("navigator.mediaDevices.enumerateDevices()")
    if any(device["kind"] == "audioinput" for device in devices):
        pytest.skip("this machine has a microphone")

    press(page)
    told = page.wait_for("document.getElementById('problem').textContent")

    assert told == "There is no microphone. Plug one in, and start again."


def test_a_session_that_is_refused_is_explained(browser, open_page, settings):
    settings.DEEPGRAM_BASE_URL = "http://127.0.0.1:1"
    page = open_page(browser)

    press(page)

    told = page.wait_for("document.getElementById('problem').textContent", seconds=30)
    assert told.startswith("The session was refused")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_loads_nothing_from_elsewhere(browser, open_page, width, dark):
    page = open_page(browser, width=width, height=844, dark=dark)

    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin)")

    assert overflow == 0
    assert set(loaded) == {page.evaluate("location.origin")}
    assert page.complaints == []
