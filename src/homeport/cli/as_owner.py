"""Root at work in the directory of an agent that is another user's: what it leaves there belongs to that user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport.errors import HomeportError


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """As root: act as the user whose agent it is, so that nothing in that user's directory can lead root astray."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    found = place.stat()
    if os.geteuid() != 0 or not found.st_uid:
        yield
        return
    groups = os.getgroups()
    try:
        os.setgroups([found.st_gid])
        os.setegid(found.st_gid)
        os.seteuid(found.st_uid)
    except OSError as e:
        raise HomeportError(f"cannot act as the owner of {place}: {e.strerror}") from e
    try:
        yield
    except PermissionError as e:
        raise HomeportError(
            f"{directory} cannot be reached by its own user: {e.strerror}; check the directories above it"
        ) from e
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
