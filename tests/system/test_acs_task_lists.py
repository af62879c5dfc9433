"""The tasks of all devices, over REST and on the command line, over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeport.acs.records import TaskRecord
from homeport.acs.storage.interface import TaskChange
from homeport.cli.exits import ExitCode
from homeport.cli.main import run as homeport
from support.acs_wire import Bed, acs, id_of, run, values
from support.store_rows import unit

pytestmark = pytest.mark.system

READ = {"parameter_names": ["Device.X"]}


class Clock:
    """A millisecond passes with each look, so that no two tasks are made at once."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@contextlib.asynccontextmanager
async def some_tasks(directory: Path, clock: Clock | None = None) -> AsyncIterator[tuple[Bed, dict[str, Any]]]:
    """Two devices: a read that is done, a write that has failed, one that was cancelled, one that waits; by what they are."""
    async with acs(directory, clock=clock or Clock()) as bed:
        tasks: dict[str, Any] = {}
        for serial in ("S1", "S2"):
            device = await bed.device(serial)
            await device.session("1 BOOT")
        tasks["done"] = await bed.task("GetParameterValues", READ)
        tasks["failed"] = await bed.task("AddObject", {"object_name": "Device.T."})
        await bed.devices[0].session(handler=values)
        tasks["cancelled"] = await bed.task("Reboot", serial="S2")
        await bed.rest("DELETE", f"tasks/{tasks['cancelled']['id']}")
        tasks["queued"] = await bed.task("GetParameterValues", READ, serial="S2", expires_in=60)
        yield bed, tasks


async def listed(bed: Bed, query: str = "") -> list[str]:
    """Ids of the tasks that fit."""
    answer = await bed.rest("GET", f"tasks?{query}")
    assert answer.status == 200, answer.body
    assert answer.json["next"] is None
    return [t["id"] for t in answer.json["items"]]


def test_tasks_are_found_by_what_they_are(tmp_path: Path) -> None:
    """By status (several), method, device and time, alone and together; the youngest first."""

    async def scene() -> None:
        async with some_tasks(tmp_path) as (bed, tasks):
            done, failed, cancelled, queued = (tasks[k]["id"] for k in ("done", "failed", "cancelled", "queued"))
            assert await listed(bed) == [queued, cancelled, failed, done]
            assert await listed(bed, "status=failed") == [failed]
            assert await listed(bed, "status=done&status=cancelled&status=failed") == [cancelled, failed, done]
            assert await listed(bed, "rpc=GetParameterValues") == [queued, done]
            assert await listed(bed, f"device={quote(id_of('S2'))}") == [queued, cancelled]
            assert await listed(bed, f"device={quote(id_of('S2'))}&status=queued&rpc=Reboot") == []
            assert await listed(bed, "device=nobody") == []
            second, third = tasks["failed"]["created"], tasks["cancelled"]["created"]
            assert await listed(bed, f"since={second}&until={third}") == [failed]
            assert await listed(bed, f"since={second[:-1]}") == [queued, cancelled, failed]
            assert await listed(bed, "until=1970-01-01") == await listed(bed, "since=9999-12-31T23:59:59Z") == []
            item = (await bed.rest("GET", "tasks?status=failed")).json["items"][0]
            assert item == await bed.task_now(tasks["failed"])

    run(scene())


def test_pages_follow_each_other_while_tasks_are_made(tmp_path: Path) -> None:
    """A cursor goes on where its page ended: what is younger than the first page does not shift the second."""

    async def scene() -> None:
        async with some_tasks(tmp_path) as (bed, tasks):
            first = (await bed.rest("GET", "tasks?limit=3")).json
            await bed.task("Reboot")
            rest = (await bed.rest("GET", f"tasks?limit=3&cursor={first['next']}")).json
            assert [t["id"] for t in rest["items"]] == [tasks["done"]["id"]]
            assert rest["next"] is None

    run(scene())


def test_a_task_is_listed_as_it_stands_now(tmp_path: Path) -> None:
    """What has expired since the last sweep is not queued any more; a read whose question is out runs, whatever its row says."""
    clock = Clock()

    async def scene() -> None:
        async with some_tasks(tmp_path, clock) as (bed, tasks):
            await bed.devices[1].inform()
            await bed.devices[1].post(None)
            assert await listed(bed, "status=running") == [tasks["queued"]["id"]]
            assert await listed(bed, "status=queued") == []
            assert await listed(bed, "status=queued&status=running&limit=1") == [tasks["queued"]["id"]]
            waiting = await bed.task("Reboot", expires_in=60)
            assert await listed(bed, "status=queued") == [waiting["id"]]
            clock.now += 100
            assert await listed(bed, "status=queued") == []
            assert (await bed.rest("GET", "tasks?limit=1")).json["items"][0]["status"] == "expired"
            await bed.app.overdue.sweep()
            assert await listed(bed, "status=expired") == [waiting["id"]]

    run(scene())


def test_a_wrong_question_is_refused_with_the_field(tmp_path: Path) -> None:
    """422 in the one error shape, naming what is wrong."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for query in ("status=open", "since=yesterday", "limit=0", f"rpc={'x' * 65}"):
                answer = await bed.rest("GET", f"tasks?{query}")
                assert answer.status == 422
                assert query.partition("=")[0] in json.dumps(answer.json["error"])

    run(scene())


# --- on the command line ---


Say = Callable[..., Awaitable[tuple[int, str, str]]]


def command_line(bed: Bed, capsys: pytest.CaptureFixture[str]) -> Say:
    """`homeport` against this ACS: exit code, stdout, stderr."""

    async def say(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        where = ["--acs", bed.app.http_url, "--token", bed.token]
        code = await asyncio.to_thread(homeport, [*words, *where])
        said = capsys.readouterr()
        return code, said.out, said.err

    return say


def test_the_command_lists_the_tasks_of_all_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`homeport task list` without a device names each task's; filters narrow it; with a device it is that one's."""

    async def scene() -> None:
        async with some_tasks(tmp_path) as (bed, tasks):
            say = command_line(bed, capsys)
            code, out, _ = await say("task", "list")
            head, *lines = out.splitlines()
            assert (code, head) == (0, "TASK\tDEVICE\tRPC\tSTATUS\tCREATED\tOUTCOME")
            assert [line.split("\t")[1:4] for line in lines] == [
                [id_of("S2"), "GetParameterValues", "queued"],
                [id_of("S2"), "Reboot", "cancelled"],
                [id_of("S1"), "AddObject", "failed"],
                [id_of("S1"), "GetParameterValues", "done"],
            ]
            assert "9000" in lines[2]
            code, out, _ = await say("task", "list", "S2", "--status", "cancelled", "--status", "queued", "--json")
            assert [t["id"] for t in json.loads(out)] == [tasks["queued"]["id"], tasks["cancelled"]["id"]]
            code, out, _ = await say("task", "list", "S1")
            assert out.splitlines()[0] == "TASK\tRPC\tSTATUS\tCREATED\tOUTCOME"
            code, out, _ = await say("task", "list", "--rpc", "AddObject", "--since", "2026-01-01", "--json")
            assert [t["id"] for t in json.loads(out)] == [tasks["failed"]["id"]]
            code, out, err = await say("task", "list", "--until", "3d", "--status", "unknown")
            assert (code, len(out.splitlines()), "no task fits" in err) == (0, 1, True)

    run(scene())


def test_the_command_goes_on_where_its_page_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how; a greater limit than a page of REST has is asked for in several."""

    async def scene() -> None:
        async with some_tasks(tmp_path) as (bed, tasks):
            say = command_line(bed, capsys)
            _, out, err = await say("task", "list", "--limit", "3", "--json")
            words = err.split()
            assert len(json.loads(out)) == 3
            cursor = words[words.index("--cursor") + 1].rstrip(",")
            _, out, err = await say("task", "list", "--limit", "3", "--cursor", cursor, "--json")
            assert [t["id"] for t in json.loads(out)] == [tasks["done"]["id"]]
            assert err == ""
            made = [TaskRecord(id=f"{n:020}", device=id_of(), rpc="Reboot", args={}) for n in range(600)]
            await bed.app.store.commit(unit(tasks=[TaskChange(task, None) for task in made]))
            _, out, err = await say("task", "list", "--limit", "602", "--json")
            assert [t["id"] for t in json.loads(out)][-1] == made[2].id
            assert "--cursor" in err

    run(scene())


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--status", "open"), "'open'; there are queued"), (("--since", "yesterday"), "say how long ago")],
)
def test_a_wrong_word_is_refused_with_what_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """Before the ACS is asked."""
    assert homeport(["task", "list", *words, "--acs", "http://127.0.0.1:9", "--token", "t"]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
