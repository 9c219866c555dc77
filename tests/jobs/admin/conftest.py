"""Staff of both kinds, logged in, and files to upload."""

import io
import wave
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing.regions import all_regions
from tests.browser import Browser, Page
from tests.conftest import with_package
from tests.sandbox_process import SandboxProcess

# What keeps somebody out, of what axe-core finds (github.com/dequelabs/axe-core, doc/API.md).
BARRIERS = """
axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
    .filter(({impact}) => ["serious", "critical"].includes(impact))
    .map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html).slice(0, 3).join(" ")}`))
"""


def wav(name: str = "call.wav", seconds: float = 1.0) -> io.BytesIO:
    """Silence, 16 kHz mono, as Django's test client sends it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(bytes(int(seconds * 16000) * 2))
    named = io.BytesIO(file.getvalue())
    named.name = name
    return named


def said(response) -> str:
    """What the page that follows tells its reader."""
    return " ".join(str(message) for message in response.context["messages"])


@pytest.fixture
def superuser(db) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def staff(db) -> User:
    return User.objects.create_user("staff", is_staff=True)


@pytest.fixture
def root_client(superuser) -> Client:
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff_client(staff) -> Client:
    """Without any of Django's permissions."""
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def provider(settings) -> Iterator[SandboxProcess]:
    """What the default region calls."""
    with SandboxProcess() as sandbox:
        settings.DEEPGRAM_BASE_URL = sandbox.url
        all_regions.cache_clear()
        yield sandbox
    all_regions.cache_clear()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def new_page(browser, live_server, root_client):
    """Makes pages that are logged in; they open paths."""

    def make(**size) -> Page:
        page = browser.page(**size)
        page.set_cookie(live_server.url, "sessionid", root_client.cookies["sessionid"].value)
        visit = page.open
        page.open = lambda path: visit(live_server.url + path)
        pages.append(page)
        return page

    pages = []
    yield make
    for page in pages:
        # Before the server goes: a page that is open keeps asking it for news.
        page.call("Page.navigate", url="about:blank")
        page.close()


@pytest.fixture(scope="session")
def barriers(tmp_path_factory) -> Callable[[Page], list[str]]:
    """Finds what keeps people from using a page, by any sense or device."""
    directory = with_package("axe-core@4.14.1", tmp_path_factory.mktemp("axe"))
    axe = (directory / "node_modules" / "axe-core" / "axe.min.js").read_text()

    def look(page: Page) -> list[str]:
        page.evaluate(f"{axe}; 0")
        return page.evaluate(BARRIERS)

    return look
