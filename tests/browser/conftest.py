"""A real agent with its web page, an ACS that is unkind to it, and Chromium as a person would hold it: at a desk and on a telephone."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.http_acs import HttpAcs
from homeport.codec.messages import Request

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = Path(__file__).resolve().parents[2] / "output" / "screenshots"


@dataclass
class Stage:
    """One agent and its ACS, in a thread with a loop of its own."""

    loop: asyncio.AbstractEventLoop
    acs: HttpAcs
    agent: AgentProcess
    url: str = ""

    def do(self, deed: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(deed, self.loop).result(30)

    def ask(self, *requests: Request) -> None:
        """Let the ACS send requests in a session that begins now, and wait for its end."""
        from homeport.cpe.control import ControlClient

        done = sum(post.status == 204 for post in self.acs.posts)
        self.acs.requests.extend(requests)
        ControlClient(self.agent.directory).call("inform")
        self.do(self.acs.sessions(done + 1))

    def status(self) -> dict[str, Any]:
        """What the agent last wrote about itself."""
        try:
            return json.loads((self.agent.directory / "status.json").read_text())
        except FileNotFoundError:
            return {}


def stage(directory: Path, *flags: str) -> Iterator[Stage]:
    """A stage that is set and struck again; for fixtures."""
    ready: Future[asyncio.AbstractEventLoop] = Future()
    over = asyncio.Event()

    async def hold() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)  # connections of an agent that restarts break off
        ready.set_result(loop)
        await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    found = Stage(ready.result(10), HttpAcs(), AgentProcess(directory))
    try:
        found.do(found.acs.__aenter__())
        found.agent = AgentProcess(directory, found.acs.url, "--web-port", "0", *flags)
        found.do(found.agent.start())
        found.do(found.acs.sessions(1))
        found.do(until(lambda: bool(found.status().get("web_url")) and found.status().get("sessions_succeeded")))
        found.url = (
            found.status()["web_url"].rstrip("/").replace("localhost", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
        )
        yield found
    finally:
        found.do(found.agent.stop())
        found.do(found.acs.__aexit__(None, None, None))
        found.loop.call_soon_threadsafe(over.set)
        thread.join(10)


async def until(condition: Callable[[], object], limit: float = 20.0) -> None:
    """Look until it holds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; skipped with the reason where it cannot be had."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"{CHROMIUM} is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def staged() -> Callable[..., Iterator[Stage]]:
    """`for stage in staged(directory, *flags)`: see `stage`."""
    return stage


@pytest.fixture
def shot() -> Callable[[Any, str], None]:
    """Keep a picture of a page as build output: shot(page, name). Only where HOMEPORT_SCREENSHOTS is set, as in CI: it takes a while."""

    def take(page: Any, name: str) -> None:
        if "HOMEPORT_SCREENSHOTS" not in os.environ:
            return
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take
