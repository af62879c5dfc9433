"""How fast and how small the data-model engine is: `python benchmarks/model_bench.py`, or `make bench` with everything else."""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable

from homeport.model.nodes import blueprint_of
from homeport.model.profile import load_profile
from homeport.model.schema import load_schema
from homeport.model.tree import DataModel
from homeport.terms import Writer

Row = tuple[str, float, str, float | None]

_START = """
import time
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * PAGE
import os
PAGE = os.sysconf("SC_PAGE_SIZE")
before, start = resident(), time.process_time()
from homeport.model.schema import load_schema
from homeport.model.tree import DataModel
model = DataModel(load_schema("Device:2.19"))
print((time.process_time() - start) * 1000, (resident() - before) / 2**20)
"""


def rows() -> Iterable[Row]:
    """(label, figure, unit, target); target None is for comparison."""
    yield from start()
    model = DataModel(load_schema("Device:2.19"))
    _grow(model)
    wanted = [v.name for v in model.get("Device.") if not v.name.startswith("Device.ManagementServer.")][:1000]
    yield "GetParameterValues, 1,000 names", _best(lambda: model.get_many(wanted)), "ms", 3.0
    whole = model.get("")
    yield f"GetParameterValues of everything, {len(whole):,} parameters", _best(lambda: model.get("")), "ms", None
    count = len(model.names("", False))
    yield (
        f"GetParameterNames of everything, {count:,} names",
        _best(lambda: model.names("", False)),
        "ms",
        20.0 * count / 10_000,
    )
    numbers = model.instances("Device.NAT.PortMapping.")[:50]
    names = [f"Device.NAT.PortMapping.{n}.{leaf}" for n in numbers for leaf in ("Description", "InternalPort")]
    turn = 0

    def set_hundred() -> None:
        nonlocal turn
        turn += 1
        with model.transaction(Writer.ACS) as change:
            for name in names:
                change.set(name, str(turn), "xsd:string" if name.endswith("Description") else "xsd:unsignedInt")
            change.parameter_key(f"k{turn}")
            change.commit()

    yield "SetParameterValues, 100 parameters, without the disk", _best(set_hundred), "ms", 3.0
    yield "AddObject and DeleteObject in a table of 200 rows", _best(lambda: _add_and_delete(model)), "ms", None
    yield "forced Inform parameters of that device", _best(model.forced_inform), "ms", None
    state = model.dump_state()
    yield f"dump_state, {len(state['values']):,} values", _best(model.dump_state), "ms", None
    yield "load_state of the same", _best(lambda: DataModel(load_schema("Device:2.19"), state=state)), "ms", None
    yield from fleet()


def start() -> Iterable[Row]:
    """A fresh interpreter with Device:2.19 loaded and its tree built, beyond an empty one; the best of three."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    found = []
    for _ in range(3):
        out = subprocess.run(
            [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, check=True
        ).stdout
        found.append([float(x) for x in out.split()])
    yield "start with Device:2.19 loaded, CPU time", min(f[0] for f in found), "ms", 150.0
    yield "memory of that start", min(f[1] for f in found), "MB", 12.0


def fleet(devices: int = 10_000) -> Iterable[Row]:
    """What one device of a profile costs while it is like the others, and once it has its own identity and history."""
    blueprint = blueprint_of(load_profile("dkt-797xx"))
    DataModel(blueprint).get("")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    models = [DataModel(blueprint) for _ in range(devices)]
    yield (
        f"memory per device, {devices:,} alike",
        (tracemalloc.get_traced_memory()[0] - before) / devices,
        "bytes",
        2048.0,
    )
    for n, model in enumerate(models):
        with model.transaction(Writer.SYSTEM) as change:
            change.set("Device.DeviceInfo.SerialNumber", f"{n:012}")
            change.set(
                "Device.ManagementServer.ConnectionRequestURL", f"http://10.{n >> 16}.{n >> 8 & 255}.{n & 255}:7547/cr"
            )
            change.parameter_key(f"{n}")
            change.commit()
    yield (
        "the same with serial number, URL and ParameterKey of its own",
        (tracemalloc.get_traced_memory()[0] - before) / devices,
        "bytes",
        None,
    )
    tracemalloc.stop()
    total = time.perf_counter()
    for _ in range(devices):
        DataModel(blueprint)
    yield "making a device", (time.perf_counter() - total) / devices * 1e6, "us", None


def _grow(model: DataModel) -> None:
    """Enough rows for more than 10,000 names."""
    with model.transaction(Writer.SYSTEM) as change:
        for table, count in (
            ("NAT.PortMapping.", 200),
            ("Hosts.Host.", 100),
            ("IP.Interface.", 40),
            ("WiFi.SSID.", 40),
        ):
            for _ in range(count):
                change.add_object(f"Device.{table}")
        change.commit()


def _add_and_delete(model: DataModel) -> None:
    with model.transaction(Writer.ACS) as change:
        number = change.add_object("Device.NAT.PortMapping.")
        change.commit()
    with model.transaction(Writer.ACS) as change:
        change.delete_object(f"Device.NAT.PortMapping.{number}.")
        change.commit()


def _best(deed: Callable[[], object], rounds: int = 15) -> float:
    """Milliseconds of the quickest of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        deed()
        best = min(best, time.perf_counter() - begin)
    return best * 1000


if __name__ == "__main__":
    for label, figure, unit, target in rows():
        print(f"{label:<66} {figure:>10.4g} {unit:<6} {'' if target is None else f'target {target:g}'}")
