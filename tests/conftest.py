"""What holds for all tests: their order (files that take long first, so that the workers of a run end together) and their processes."""

import functools
import os
import signal
import sys
from pathlib import PurePath

import pytest

# Images for containers often set this. Then each worker would compile all tests, and each of the hundreds of processes all of Homeport.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that runs us in the background has Ctrl-C ignored, which processes inherit: those that a test stops by it would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = (
    # processes and sockets, longest first
    *("test_demo_check", "test_web_pages", "test_debian_package", "test_transfers_agent", "test_plugin_tutorial"),
    *("test_acs_nodes", "test_linux_trial", "test_transfers_agent_killed", "test_kill9_agent", "test_dhcp_discovery"),
    *("test_acs_kill_runs", "test_cli_device", "test_acs_files_upload", "test_acs_postgres", "test_acs_kill"),
    *("test_transfers_updaters", "test_fuzz_http", "test_cli_start", "test_acs_worker_pair", "test_cpe_month_killed"),
    *("test_acs_workers", "test_modules_agent", "test_modules_killed", "test_acs_large_messages", "test_fuzz_envelope"),
    *(
        "test_cpe_hostile_acs",
        "test_kill9_acs",
        "test_pair_killed",
        "test_acs_supervision",
        "test_transfers_local",
        "test_device_profiles",
    ),
    *("test_model_power_cut", "test_linux_device", "test_cpe_over_http", "test_acs_hostile", "test_acs_store_trouble"),
    # without
    *("test_api_files", "test_api_fuzz", "test_codec_round_trip", "test_store_postgres", "test_api_shapes"),
    *("test_cli_main", "test_store_contract", "test_model_files", "test_agent_month", "test_docs_examples"),
    *(
        "test_store_archive",
        "test_store_postgres_trouble",
        "test_docs_reference",
        "test_acs_http_heads",
        "test_acs_values",
    ),
    *("test_provider", "test_transfer_results"),
)
"""Files of more than about three seconds. Where one is missing here the run only ends a little later."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the others as they were; tests of a file stay together and in order."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(PurePath(item.location[0]).stem, len(LONG)))


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of an ACS in this process are hashed by the same method at its least cost: each hash else takes a fifth of a second."""
    import argon2

    cheap = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(argon2, "PasswordHasher", cheap)
