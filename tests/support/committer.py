"""A process that commits to the agent's stored data model until it is killed: each commit is told on standard output once it is durable.

One commit writes three values and the ParameterKey, which all carry the same number, and every tenth adds or deletes an alias, so that
half a commit would show. Run as `python committer.py STATE_DIR`.
"""

import sys
from pathlib import Path

from homeport.cpe.ledger import Ledger
from homeport.cpe.model_store import ModelStore
from homeport.cpe.state import Store
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer

ROOT = "Device."
VALUES = (f"{ROOT}ManagementServer.PeriodicInformInterval", f"{ROOT}ManagementServer.CWMPRetryMinimumWaitInterval")
TEXT = f"{ROOT}DeviceInfo.ProvisioningCode"


def opened(directory: Path) -> tuple[Store, DataModel, ModelStore]:
    """The agent's data model as the last process left it."""
    store = Store(directory)
    keeper = ModelStore(store, Ledger(store), f"{ROOT}ManagementServer.URL")
    model = DataModel(load_profile("dkt-797xx"), persist=keeper.persist)
    left_out = keeper.restore(model)
    assert not left_out, left_out
    return store, model, keeper


def numbers(model: DataModel) -> set[int]:
    """The number that each place of the model carries: one, unless a commit was torn."""
    places = [model.value(path) for path in VALUES]
    key = model.value(f"{ROOT}ManagementServer.ParameterKey")
    return {int(p) for p in places} | {int(key or 0), int(model.value(TEXT) or 0)} if key else set()


def main(directory: Path) -> None:
    """Commits for ever."""
    _, model, keeper = opened(directory)
    number = max(numbers(model), default=0)
    while True:
        number += 1
        transaction = model.transaction(Writer.ACS)
        for path in VALUES:
            transaction.set(path, str(number), None)
        transaction.set(TEXT, str(number), None)
        transaction.parameter_key(str(number))
        transaction.commit()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        if number % 97 == 0:
            keeper.fold(force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
