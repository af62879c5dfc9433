"""The stored data model under kill -9: every acknowledged commit is there, and no half of one."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from support import committer

pytestmark = pytest.mark.system

COMMITS = 1000
CUTS = 12


def test_a_thousand_commits_under_kill_9_lose_nothing_and_tear_nothing(tmp_path: Path) -> None:
    """The process is killed at random moments, also while it folds its records; after each cut the newest acknowledged commit is whole."""
    chance = random.Random(69)
    acknowledged = 0
    for cut in range(CUTS):
        wanted = COMMITS * (cut + 1) // CUTS
        process = subprocess.Popen(
            [sys.executable, committer.__file__, str(tmp_path)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        lines = []
        with process.stdout:
            for line in process.stdout:
                lines.append(line)
                if int(line) >= wanted and chance.random() < 0.3:
                    process.kill()
                    break
            lines += process.stdout.readlines()
        process.wait(10)
        told = [int(line) for line in lines if line.endswith("\n")]
        assert told == list(range(told[0], told[0] + len(told)))
        assert told[0] in (acknowledged + 1, acknowledged + 2)
        store, model, _ = committer.opened(tmp_path)
        store.close()
        (found,) = committer.numbers(model)
        assert found in (told[-1], told[-1] + 1)
        acknowledged = told[-1]
    assert acknowledged >= COMMITS
