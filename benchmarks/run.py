"""Prints the speed table: every figure that Homeport promises, measured now, beside its target. `make bench` calls it.

Each `*_bench.py` beside this file has `rows()`, which gives (label, figure, unit, target) tuples; target None means "for comparison".
Figures of one run can be compared with each other; absolute times depend on the machine. `run.py codec acs` runs only those two.
"""

import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
Row = tuple[str, float | None, str, float | None]


def main(names: list[str]) -> int:
    """0 when every measured figure is within its target."""
    missed = 0
    for file in sorted(HERE.glob("*_bench.py")):
        room = file.stem.removesuffix("_bench")
        if names and room not in names:
            continue
        print(f"\n{room}", flush=True)
        start = time.monotonic()
        missed += show(rows_of(file))
        print(f"  ({time.monotonic() - start:.0f} s)")
    print(f"\n{'every target is met' if not missed else f'{missed} target(s) missed'}")
    return 1 if missed else 0


def rows_of(file: Path) -> Iterable[Row]:
    """What a benchmark module measures."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    rows: Iterable[Row] = module.rows()
    return rows


def show(rows: Iterable[Row]) -> int:
    """Prints the rows as they come; the number of missed targets."""
    missed = 0
    for label, figure, unit, target in rows:
        if figure is None:
            print(f"  {label:<66} {unit}")
            continue
        verdict = ""
        if target is not None:
            met = figure <= target
            missed += not met
            verdict = f"target {target:g}  {'ok' if met else 'MISSED'}"
        print(f"  {label:<66} {figure:>10.4g} {unit:<14} {verdict}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
