"""A device under another id, on PostgreSQL: one unit alone in its transaction, with both devices locked."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from homeport.acs.records import StoredValue
from homeport.acs.storage.interface import Conflict, ValuesChange
from homeport.acs.storage.moves import held, united
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.moving import BATCH, DECODERS, rewritten, rewritten_files
from homeport.acs.storage.sql.postgres_link import Connection, cleaned
from homeport.acs.storage.values import NO_PATHS, Column

Values = Callable[[Sequence[str]], Awaitable[Mapping[str, Mapping[str, StoredValue]]]]
"""All values of some devices, read in this transaction."""


async def move(c: Connection, sql: Mapping[str, str], old: str, new: str, values: Values) -> None:
    """Bring everything of the old device under the new one. Raises Conflict where one is missing or the old one is busy."""
    devices = {row[1]: rows.device(row) for row in await c.fetch(sql["lock_devices"], [old, new])}
    if old == new or len(devices) != 2 or await c.fetchval(sql["device_busy"], old):
        raise Conflict(held(old, new))
    row = rows.device_row(united(devices[old], devices[new]))
    await c.execute(sql["update_device"], *(cleaned(v) if isinstance(v, str) else v for v in row))
    known = await values([old, new])
    if known[old]:
        column = Column(NO_PATHS, None)
        column.apply(ValuesChange(new, {**known[old], **known[new]}))
        await c.execute(sql["insert_path_list"], column.paths.hash, column.paths.blob)
        await c.execute(sql["put_values"], new, column.paths.hash, column.packed())
    for table in DECODERS:
        while found := await c.fetch(sql[f"{table}s_to_move"], old, BATCH):
            await c.executemany(sql[f"move_{table}"], rewritten(table, found, new))
    files = rewritten_files(await c.fetch(sql["files"]), old, new)
    if files:
        await c.executemany(sql["put_file"], files)
    own = await c.fetchval(sql["credential_of"], old)
    if own is not None and await c.fetchval(sql["credential_of"], new) is None:
        login = replace(rows.credential(own), device=new)
        await c.execute(sql["move_credential"], new, rows.encode(login), login.username)
    await c.execute(sql["delete_device_credentials"], old)
    await c.execute(sql["delete_device"], old)
