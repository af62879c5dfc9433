"""Fixtures around the small hand-made model."""

import pytest

from homeport.model.schema import Schema
from homeport.model.tree import DataModel
from model_support.small import SCHEMA


@pytest.fixture
def model() -> DataModel:
    """A device of the small model, as it left the factory."""
    return DataModel(SCHEMA)


@pytest.fixture
def schema() -> Schema:
    return SCHEMA
