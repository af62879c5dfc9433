"""The version, in one place: hatchling reads it, and `homeport --version` prints it."""

__version__ = "0.1.0"
