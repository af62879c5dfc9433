"""How plug-ins are found: installed packages, modules and files; and the thread that calls them."""

import sys
import threading
import time
from pathlib import Path

import pytest

from homeport.cpe.devices.loading import plugins_for
from homeport.cpe.devices.plugin import Plugin
from homeport.cpe.devices.worker import MOST_STUCK, TooLong, Worker
from homeport.errors import ConfigError

PLUGIN = "from homeport.cpe.devices.plugin import parameter\n@parameter('Device.DeviceInfo.UpTime')\ndef up():\n    return 5\n"


def install(folder: Path, name: str, code: str, target: str) -> None:
    """A package as pip leaves it: a module and the metadata with its entry point."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[homeport.devices]\n{name} = {target}\n")


@pytest.mark.parametrize("target", ["{0}", "{0}:box", "{0}:Box", "{0}:make"])
def test_an_installed_plug_in_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """An entry point of the group `homeport.devices` names a module, a Plugin, a class, or a function that makes one."""
    name = f"acme_box_{abs(hash(target))}"
    code = (
        "from homeport.cpe.devices.plugin import Plugin, parameter\nbox = Plugin('box')\n"
        "@box.parameter('Device.DeviceInfo.UpTime')\ndef up():\n    return 5\n"
        "class Box:\n    @parameter('Device.DeviceInfo.Description')\n    def text(self):\n        return 'x'\n"
        "def make():\n    return box\n"
    )
    install(tmp_path, name, code, target.format(name))
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = plugins_for(())
    assert plugin.declarations


def test_a_broken_installed_plug_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the entry point, so that a person knows which package to repair or remove."""
    install(tmp_path, "acme_broken", "1 / 0\n", "acme_broken")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"installed plug-in acme_broken .* ZeroDivisionError"):
        plugins_for(())


def test_a_plug_in_is_named_by_file_or_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting takes paths of Python files and names of importable modules."""
    (tmp_path / "by_name_box.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (str(tmp_path / "by_name_box.py"), "by_name_box"):
        (plugin,) = plugins_for((name,))
        assert [d.path for d in plugin.declarations] == ["Device.DeviceInfo.UpTime"]


@pytest.mark.parametrize("name", ["/no/such/file.py", "no_such_module_anywhere"])
def test_a_plug_in_that_is_not_there_is_said(name: str) -> None:
    """A wrong name ends the start with the name and the cure."""
    with pytest.raises(ConfigError, match=f"{name} is not there"):
        plugins_for((name,))


def test_nothing_is_imported_where_no_plug_in_is_installed() -> None:
    """The search for installed plug-ins costs a look into the folders, not the import of the machinery for packages."""
    import subprocess

    code = "import sys; from homeport.cpe.devices.loading import plugins_for; plugins_for(()); print('importlib.metadata' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.strip() == "False"


def test_calls_of_a_plug_in_never_run_beside_each_other() -> None:
    """One thread per plug-in: its author needs no locks."""
    worker, running, most = Worker("x"), [], []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()

    threads = [threading.Thread(target=worker.call, args=(work,), kwargs={"limit": 5}) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.close()
    assert most == [1] * 5


def test_what_waits_behind_a_hanging_call_goes_on() -> None:
    """The thread of a call that hangs is left behind; the next call has a new one, and the name of the culprit is said."""
    worker, release = Worker("x"), threading.Event()

    def hangs() -> None:
        release.wait(10)

    worker.post(hangs)
    with pytest.raises(TooLong, match="hangs hangs"):
        worker.call(lambda: 1, limit=0.05)
    assert worker.call(lambda: 2, limit=5) == 2
    release.set()


def test_too_many_hanging_calls_stop_a_plug_in() -> None:
    """Every hanging call keeps a thread, so their number is limited; when they come back the plug-in is called again."""
    worker, release = Worker("x"), threading.Event()
    for number in range(MOST_STUCK):
        with pytest.raises(TooLong):
            worker.call(lambda number=number: release.wait(10), limit=0.01)
    with pytest.raises(TooLong, match="calls of this plug-in hang"):
        worker.call(lambda: 1, limit=1)
    release.set()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            assert worker.call(lambda: 2, limit=1) == 2
            break
        except TooLong:
            time.sleep(0.01)
    else:
        raise AssertionError("it is not called again")


def test_a_function_that_ends_the_interpreter_does_not() -> None:
    """sys.exit in a plug-in is an error of that plug-in."""
    with pytest.raises(RuntimeError, match="ended with SystemExit"):
        Worker("x").call(sys.exit, limit=5)


def test_a_plug_in_includes_others() -> None:
    """A plug-in can be put together from several; each of them then knows the host."""
    inner = Plugin("inner")
    inner.parameter("Device.DeviceInfo.UpTime")(lambda: 1)
    outer = Plugin.of(inner, name="outer")
    assert [d.path for d in outer.declarations] == ["Device.DeviceInfo.UpTime"]
