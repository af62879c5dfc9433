"""The REST API under requests made from its own description, right and wrong ones: answered as that says, never with 5xx."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from homeport.acs.app import AcsApp
from homeport.acs.config import AcsSettings
from homeport.acs.records import DeviceRecord
from homeport.acs.storage.interface import UnitOfWork

schemathesis = pytest.importorskip("schemathesis")

pytestmark = pytest.mark.system

checks = pytest.importorskip("schemathesis.specs.openapi.checks")
CHECKS = (checks.response_schema_conformance, checks.content_type_conformance)
"""Answers are what their description says: of a client that was made from it, no answer may be the end."""

EXAMPLES = int(os.environ.get("HOMEPORT_API_EXAMPLES", "2"))
"""Requests of each kind to each route; CI sends more."""
ENDLESS = "/api/v1/events"
DEVICE = "00D0F1-XR500-S1"
STATEFUL = {"id": DEVICE, "name": "fw.bin"}


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[AcsApp]:
    """An ACS in a thread of its own, with one device."""
    here = "127.0.0.1:0"
    app = AcsApp(
        AcsSettings(data_dir=directory, cwmp_listen=here, http_listen=here, file_listen=here, database="memory:")
    )
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def start() -> None:
        await app.start()
        unit = UnitOfWork()
        unit.devices.append(DeviceRecord(id=DEVICE, oui="00D0F1", product_class="XR500", serial_number="S1"))
        await app.store.commit(unit)

    def run() -> None:
        loop.run_until_complete(start())
        ready.set()
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        yield app
    finally:
        asyncio.run_coroutine_threadsafe(app.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcsApp]:
    with serving(tmp_path_factory.mktemp("acs")) as app:
        yield app


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_whatever_is_sent_is_answered_in_the_promised_shape(bed: AcsApp, mode: str) -> None:
    """No 5xx; every refusal is JSON of the one error shape. Half of the requests name a device that exists."""
    token = bed.token_file.read_text().strip()
    schema = schemathesis.openapi.from_url(f"{bed.http_url}/api/openapi.json")
    counts: dict[int, int] = {}
    modes = [getattr(schemathesis.GenerationMode, mode.upper())]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    operations = [o for o in operations if o.path != ENDLESS and (mode == "positive" or can_be_wrong(o))]
    for operation in operations:
        for generation in modes:
            # A route without anything that could be wrong has no negative examples.
            with contextlib.suppress(schemathesis.errors.SchemathesisError, Unsatisfiable):
                send_some(operation, generation, token, counts)
    assert sum(counts.values()) > EXAMPLES * len(operations) / 2
    assert counts.get(200, 0) + counts.get(201, 0) > 0 or mode == "negative"


def can_be_wrong(operation: Any) -> bool:
    """Whether a request can break the description: in a path any text is a name, and to look for others takes a second a route."""
    return bool(len(operation.body) or len(operation.query))


def send_some(operation: Any, mode: Any, token: str, counts: dict[int, int]) -> None:
    seen = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % 2 and isinstance(case.path_parameters, dict):
            case.path_parameters.update({k: v for k, v in STATEFUL.items() if k in case.path_parameters})
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = 0 if mode is schemathesis.GenerationMode.POSITIVE else case.query["wait"]
            if str(case.query["wait"]).replace(".", "").isdigit():
                case.query["wait"] = 0
        response = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=20)
        counts[response.status_code] = counts.get(response.status_code, 0) + 1
        assert response.status_code < 500, (case.method, case.formatted_path, case.query, case.body, response.text)
        not_http = response.status_code == 400 and response.text == "Invalid HTTP request received."
        if response.status_code < 500:
            case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400 and case.method != "HEAD" and not not_http:
            assert set(response.json()["error"]) == {"code", "message", "details"}

    send()
