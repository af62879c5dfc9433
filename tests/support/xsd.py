"""The Broadband Forum's schemas, where a checkout of them lies beside the project; tests that want them skip without."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[3] / "shared" / "tools" / "xsdcheck.py"


def validator() -> Callable[[bytes], list[str]]:
    """A function that gives the findings of one SOAP body; skips the test where the schemas are absent."""
    if not TOOL.exists():
        pytest.skip("the Broadband Forum's schemas are not beside this checkout")
    spec = importlib.util.spec_from_file_location("xsdcheck", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    validate: Callable[[bytes], list[str]] = module.validate
    return validate
