"""A real browser for tests: Debian's chromium, spoken to by its DevTools protocol over one socket.

    with Browser() as browser:
        page = browser.page(width=1280, height=900)
        page.open(url)
        page.wait_for("document.querySelector('h1')")

Protocol: chromedevtools.github.io/devtools-protocol
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.conditions import PATIENCE

CHROMIUM = shutil.which("chromium")
START_SECONDS = 30 * PATIENCE
ANSWER_SECONDS = 30 * PATIENCE
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Browser:
    """One process with a profile of its own, ended with the block. `flags` are chromium's."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._profile = tempfile.mkdtemp(prefix="transcribe-browser-")
        self._sockets = ExitStack()

    def __enter__(self) -> Self:
        assert CHROMIUM is not None, "chromium is not installed"
        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, *self._flags, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._port = self._listening_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sockets.close()
        self._process.terminate()
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def page(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        socket = self._sockets.enter_context(connect(address, max_size=None, proxy=None))
        return Page(socket, width=width, height=height, dark=dark)

    def _listening_port(self) -> int:
        told = Path(self._profile, "DevToolsActivePort")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if told.exists() and (lines := told.read_text().split()):
                return int(lines[0])
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("chromium did not start")


class Page:
    """A tab. `complaints` collects what went wrong in it: errors on the console and uncaught exceptions.

    `asked` collects the kinds of its dialogs ("beforeunload"), to which the answer is yes.
    """

    def __init__(self, socket: ClientConnection, *, width: int, height: int, dark: bool) -> None:
        self._socket = socket
        self._last_id = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its answer."""
        self._last_id += 1
        called = self._last_id
        self._socket.send(json.dumps({"id": called, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=ANSWER_SECONDS))
            if message.get("id") == called:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def set_cookie(self, url: str, name: str, value: str) -> None:
        self.call("Network.setCookie", url=url, name=name, value=value)

    def open(self, url: str) -> None:
        """Returns when the page and all that it loads are there."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript, awaited."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise RuntimeError(thrown.get("description", expression))
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 15) -> Any:
        """The value of JavaScript as soon as it is true, asked again over the loading of other pages."""
        bound = PATIENCE * seconds
        deadline = time.monotonic() + bound
        while time.monotonic() < deadline:
            try:
                if value := self.evaluate(f"({condition})"):
                    return value
            except RuntimeError:
                # The page it was asked of has just gone.
                pass
            time.sleep(0.05)
        raise AssertionError(f"never true within {bound:g} s: {condition}; {self.complaints}")

    def choose_files(self, selector: str, *paths: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(details.get("exception", {}).get("description") or details["text"])
            case {"method": "Page.javascriptDialogOpening", "params": {"type": kind}}:
                self.asked.append(kind)
                # Whatever is waited for comes after it; its own answer tells nothing.
                self._last_id += 1
                answer = {"id": self._last_id, "method": "Page.handleJavaScriptDialog"}
                self._socket.send(json.dumps(answer | {"params": {"accept": True}}))
