"""Headless Chromium over its debugging pipe: opens a page of the disk, acts as its reader, watches.

Chromium reads commands from file descriptor 3 and writes answers to 4, as JSON texts that end in a
zero byte, so no driver has to be installed.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["Browser", "find_chromium"]

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
          "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--hide-scrollbars", "--force-device-scale-factor=1",
          "--host-resolver-rules=MAP * ~NOTFOUND")  # fmt: skip
#: Seconds that an answer may take on a busy machine.
_PATIENCE_S = 60.0


def find_chromium() -> str | None:
    """Return the browser's path, or ``None`` where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def _away_from_three_and_four(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One browser with one tab, which `renew` opens; a context manager.

    Attributes
    ----------
    requests : list of str
        Addresses that pages asked for.
    complaints : list of str
        Errors and warnings of the console, exceptions, broken security policies.
    """

    def __init__(self, program: str, *, width: int = 1280, height: int = 900) -> None:
        self._program, self._size = program, (width, height)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._count = 0
        self._session: str | None = None
        self._heard = b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs_in, self._write = map(_away_from_three_and_four, os.pipe())
        self._read, theirs_out = map(_away_from_three_and_four, os.pipe())
        # bash puts the pipes where Chromium looks for them; sh may know fds of one digit only.
        line = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, self._program, *_FLAGS, f"--user-data-dir={self._profile.name}"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(_PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._write)
            os.close(self._read)
            self._profile.cleanup()

    def renew(self) -> None:
        """Close the tab, if there is one, and go on with another that knows nothing of it."""
        if self._session is not None:
            self.call("Page.close")
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(*self._size)
        self.requests.clear()
        self.complaints.clear()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._heard:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._read, 1 << 16) if ready else b""
            if not part:
                raise RuntimeError("the browser does not answer")
            self._heard += part
        text, _, self._heard = self._heard.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._watch(message)
        return message

    def _watch(self, message: dict[str, Any]) -> None:
        self._events.append(message)
        what, data = message.get("method"), message.get("params", {})
        if what == "Network.requestWillBeSent":
            self.requests.append(data["request"]["url"])
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(data["exceptionDetails"]))
        elif what == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(data["args"]))
        elif what == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(data["entry"]))

    def _wait(self, event: str) -> None:
        while not any(message.get("method") == event for message in self._events):
            self._next()

    # -- what a reader does --------------------------------------------------------------------

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the tab another size, px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)  # fmt: skip

    def open(self, path: Path) -> float:
        """Open a file and return the seconds until it is loaded and drawn."""
        begun = time.monotonic()
        self.open_plainly(path)
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - begun

    def open_plainly(self, path: Path) -> None:
        """Open a file, without a script that tells when it is drawn."""
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._wait("Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def hover(self, selector: str, number: int = 0) -> None:
        """Scroll to an element and move the pointer onto its middle."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        box = self.ask(
            f"(() => {{ const e = {found}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2] })()"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def type(self, selector: str, text: str) -> None:
        """Put `text` into a field in place of what is there."""
        self.ask(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key, by its name."""
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9}.get(key, 0)
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        """Write what the whole page looks like, PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                         clip={**size, "scale": 1})  # fmt: skip
        path.write_bytes(base64.b64decode(shot["data"]))
