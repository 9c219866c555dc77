"""A real browser whose microphone speaks a file, and /live/ in it."""

import wave
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from routing.regions import all_regions
from sandbox.engines.tones import ToneEar, said, silence, text_of
from tests.browser import CHROMIUM, Browser, Page
from tests.sandbox_process import SandboxProcess

# What browsers without a sound card have.
RATE = 44_100
SPEECH = text_of(48)
RECORDING = silence(1, RATE) + said(SPEECH, RATE) + silence(1, RATE)
SPOKEN = [word.strip(".").lower() for word in SPEECH.split()]
KEEP_WHAT_THE_MICROPHONE_GAVE = """
    window.given = [];
    window.givenSamples = 0;
    window.AudioWorkletNode = class extends AudioWorkletNode {
        constructor(...options) {
            super(...options);
            this.port.addEventListener("message", ({ data }) => {
                if (data instanceof Int16Array) {
                    given.push(data.slice());
                    givenSamples += data.length;
                }
            });
        }
    };
"""
WHAT_THE_MICROPHONE_GAVE = """
    new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result.split(",")[1]);
        reader.readAsDataURL(new Blob(given));
    })
"""
PERMITTED = "--use-fake-ui-for-media-stream"
PRETENDED = "--use-fake-device-for-media-stream"


def words_in(audio: bytes) -> list[str]:
    ear = ToneEar(RATE)
    ear.hear(audio)
    return [word.bare for word in ear.words(1e6)]


def spoken_clearly(page: Page) -> list[str]:
    """The words of SPEECH that reached the page as they were said, however often it has sent them.

    A browser that gets no processor time for some hundredths of a second gives silence in place of the audio.
    """
    given = words_in(b64decode(page.evaluate(WHAT_THE_MICROPHONE_GAVE)))
    clear = [word for word in SPOKEN if given.count(word) == 1]
    assert len(clear) > 0.8 * len(given), f"the microphone gave {given}"
    return clear


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """It may use the microphone, which says SPEECH, and nothing after it."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(RECORDING)
    with Browser(PERMITTED, PRETENDED, f"--use-file-for-fake-audio-capture={path}%noloop") as browser:
        yield browser


@pytest.fixture
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts further browsers."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with ExitStack() as browsers:
        yield lambda *flags: browsers.enter_context(Browser(*flags))


@pytest.fixture
def open_page(live, launch) -> Iterator[Callable[..., Page]]:
    """Opens /live/ in a browser, signed in."""
    pages = []
    client = Client()
    client.force_login(User.objects.create_superuser("root"))

    def make(browser: Browser, port: int = live.port, **size) -> Page:
        page = browser.page(**size)
        pages.append(page)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=KEEP_WHAT_THE_MICROPHONE_GAVE)
        url = f"http://127.0.0.1:{port}"
        page.set_cookie(url, "sessionid", client.cookies["sessionid"].value)
        page.open(url + reverse("live"))
        return page

    yield make
    for page in pages:
        page.call("Page.navigate", url="about:blank")
        page.close()


@pytest.fixture
def provider(settings) -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        settings.DEEPGRAM_BASE_URL = sandbox.url
        all_regions.cache_clear()
        yield sandbox
    all_regions.cache_clear()
