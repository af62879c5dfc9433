"""Follows a tutorial as its reader would: saves the files, types the commands in their order, and looks for the output that it promises.

What counts in the page: "Save this as `F`" and "add to `F`" before a fenced block; fenced `sh` blocks; indented lines that begin with
`homeport` or `export`; fenced `text` blocks, each line of which must be in the output of the command before it; `...` is anything.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 30.0
"""Seconds until promised output must have come."""

_SAVE = re.compile(r"[Ss]ave (?:this|it) as `([^`]+)`")
_ADD = re.compile(r"[Aa]dd (?:to|a [\w ]+ to) `([^`]+)`")


class Reader:
    """Somebody who follows a tutorial in a directory. ports: numbers in the page that are replaced by free ones."""

    def __init__(self, folder: Path, ports: tuple[int, ...]) -> None:
        self.folder = folder
        self.ports = {str(port): str(_free()) for port in ports}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        # The page of the box is not what the tutorial is about, and its port may be taken on a machine that runs tests.
        self.environment |= {"HOMEPORT_CPE_WEB": "false", "PYTHONWARNINGS": "error"}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.last: tuple[object, str] = ("", "")
        self.failed = False
        self.done = 0

    def follow(self, page: str) -> None:
        """Do everything that the page says. Fails with the line that does not work."""
        try:
            lines = iter(page.splitlines())
            target: tuple[str, str] | None = None
            for line in lines:
                if line.startswith("```"):
                    block = []
                    for inner in lines:
                        if inner.startswith("```"):
                            break
                        block.append(inner)
                    self._block(line[3:].strip(), "\n".join(block) + "\n", target)
                    target = None
                elif line.startswith("    ") and line.strip().split()[0] in ("homeport", "export"):
                    self._settle()
                    self._type(line.strip())
                elif line.strip():
                    for pattern, mode in ((_SAVE, "w"), (_ADD, "a")):
                        found = pattern.search(line)
                        target = (found[1], mode) if found else target
            self._settle()
        finally:
            self.close()

    def close(self) -> None:
        """Ctrl-C in every terminal."""
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def _block(self, kind: str, text: str, target: tuple[str, str] | None) -> None:
        self.done += 1
        if target is not None:
            name, mode = target
            with (self.folder / name).open(mode) as file:
                file.write(("\n\n" if mode == "a" else "") + text)
        elif kind not in ("text", "sh"):
            raise AssertionError(f"the page does not say in which file this goes:\n{text}")
        elif kind == "text":
            self._expect(text.splitlines())
        else:
            self._settle()
            self._run(text)

    def _type(self, line: str) -> None:
        self.done += 1
        for number, free in self.ports.items():
            line = line.replace(number, free)
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = value
        elif words[1:3] in (["acs", "serve"], ["cpe", "run"]):
            self._start(" ".join(words[1:3]), words[1:])
        else:
            self._run([sys.executable, "-m", "homeport", *words[1:]])

    def _run(self, command: str | list[str]) -> None:
        shell = ["/bin/sh", "-e", "-c", command] if isinstance(command, str) else command
        done = subprocess.run(
            shell, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        self.last = (command, done.stdout + done.stderr)
        self.failed = done.returncode != 0

    def _settle(self) -> None:
        """A command that failed without the page saying so is a fault of the page."""
        assert not self.failed, f"{self.last[0]} failed:\n{self.last[1]}\n{self._logs()}"

    def _expect(self, lines: list[str]) -> None:
        end = time.monotonic() + LIMIT
        while True:
            missing = [line for line in lines if not _said(line, self.last[1])]
            if not missing:
                self.failed = self.failed and not any("9007" in line for line in lines)
                return
            assert time.monotonic() < end, (
                f"after {self.last[0]} {missing} is missing in:\n{self.last[1]}\n{self._logs()}"
            )
            time.sleep(0.1)
            self._run(self.last[0])  # type: ignore[arg-type]

    def _start(self, name: str, words: list[str]) -> None:
        before = self.running.pop(name, None)
        if before is not None:
            before.send_signal(signal.SIGINT)
            assert before.wait(15) in (0, 130, -signal.SIGINT), self._logs()
        log = self.folder / (name.replace(" ", "-") + ".log")
        with log.open("wb") as out:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "homeport", *words],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        ready = "session with" if name == "cpe run" else "http://"
        end = time.monotonic() + LIMIT
        while not re.search(rf"{ready}.*done" if name == "cpe run" else ready, log.read_text(errors="replace")):
            assert self.running[name].poll() is None and time.monotonic() < end, self._logs()
            time.sleep(0.02)

    def _logs(self) -> str:
        return "\n".join(p.name + ":\n" + p.read_text(errors="replace")[-1500:] for p in self.folder.glob("*.log"))


def _said(line: str, output: str) -> bool:
    """Whether a promised line is in the output, however wide its columns are."""
    words = [".*" if word == "..." else re.escape(word) for word in line.split()]
    return any(
        re.search(r"\s+".join(words).replace(r"\s+.*", ".*").replace(r".*\s+", ".*"), o) for o in output.splitlines()
    )


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
