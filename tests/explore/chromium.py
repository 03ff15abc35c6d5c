"""Chromium without a window, spoken to in its own protocol over a pair of pipes.

Why not Selenium: it brings seven packages, a second program (chromedriver) of exactly the browser's
version, and a manager that downloads what it misses. What these tests need is little and all in the
DevTools protocol (https://chromedevtools.github.io/devtools-protocol): keys and clicks that are
real to the page, its console, its requests, its preferences, pictures. With
``--remote-debugging-pipe`` Chromium speaks it on file descriptors 3 and 4, a JSON object ended by
a zero byte each way, so that no port is open and the standard library is enough.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nobody out there is asked anything
    "--remote-debugging-pipe",
)

PATIENCE = 300  # seconds until an answer is given up; busy machines are slow

KEYS = {
    "p": 80, "b": 66, "l": 76, "r": 82, "s": 83, "t": 84,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35,
    "PageUp": 33, "PageDown": 34, "Tab": 9, "Enter": 13, "Escape": 27, " ": 32,
}  # fmt: skip
"""Keys by name, with the number Windows gives them, which Chromium goes by."""


def find():
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A browser with an empty profile; close it."""

    def __init__(self, program, folder):
        log = Path(folder) / "chromium.log"
        # Numbers above 9, so that none of the four ends is itself one of those it is to become.
        theirs_in, ours_out = (_moved(end) for end in os.pipe())
        ours_in, theirs_out = (_moved(end) for end in os.pipe())
        self.pid = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={Path(folder) / 'profile'}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs_in, 3),
                (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT, 0o600),
            ],
            setpgroup=0,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._left, self._number = b"", 0
        self.events = []

    def close(self):
        """End it, and every process it has begun."""
        os.close(self._in)
        os.close(self._out)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def call(self, method, session=None, **parameters):
        """Send a command and return its result; what happens meanwhile is put into `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._read(until, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _read(self, until, method):
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"{method}: no answer from Chromium in {PATIENCE} s"
            data = os.read(self._in, 1 << 20)
            assert data, f"{method}: Chromium has ended"
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def open(self, path, *, width=1440, height=900, **preferences):
        """Open a file in a page of its own; see `Page.prefer` for the preferences."""
        page = Page(self, width, height)
        page.prefer(**preferences)
        page.go(Path(path).resolve().as_uri())
        return page


class Page:
    """One page, as its user has it."""

    def __init__(self, browser, width, height, target=None):
        self.browser = browser
        self.target = target or browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, *, scheme="light", motion="no-preference", media=""):
        """Set what the user prefers: ``prefers-color-scheme``, ``prefers-reduced-motion``."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.call(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": name, "value": value} for name, value in features.items()],
        )

    def go(self, url):
        """Open an address and wait until the page has loaded and was shown twice."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")
        self.settle()

    def run(self, script):
        """Return the value of an expression (or of the promise that it is)."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def settle(self):
        """Wait until the next picture and the one after it are on the screen."""
        self.run("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => f(0))))")

    def wait(self, condition):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.01)

    def press(self, key, times=1):
        """Press a key, as a user does; see `KEYS`."""
        event = {"key": key, "code": "Space" if key == " " else key}
        event["windowsVirtualKeyCode"] = KEYS[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        for _ in range(times):
            down = event | ({"text": text} if text else {})
            self.call("Input.dispatchKeyEvent", type="keyDown", **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)
        self.settle()

    def center(self, selector):
        """Return the middle of an element on the screen, after scrolling it there."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )

    def move(self, x, y):
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def click(self, target):
        """Click an element, or a point (x, y)."""
        x, y = self.center(target) if isinstance(target, str) else target
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def picture(self, path=None, *, whole=False):
        """Return the screen as PNG, or all of the page."""
        options = {"captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {**size, "scale": 1}
        data = base64.b64decode(self.call("Page.captureScreenshot", **options)["data"])
        if path:
            Path(path).write_bytes(data)
        return data

    def complaints(self):
        """Return what the page has written to its console, and every error."""
        kinds = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        return [e for e in self._events() if e["method"] in kinds]

    def requests(self):
        """Return the addresses that the page has asked for."""
        asked = [e for e in self._events() if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in asked]

    def dialogs(self):
        """Return the messages of ``alert`` and the like."""
        kind = "Page.javascriptDialogOpening"
        return [e["params"]["message"] for e in self._events() if e["method"] == kind]

    def _events(self):
        return [e for e in self.browser.events if e.get("sessionId") == self.session]


def _moved(descriptor):
    """Return a copy of a file descriptor with a number of 10 or more; the other is closed."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy
