"""Our turns in a device's session: which task or want is next, what its program asks, what the answers teach, how it ends.

The order in each verb: ask the engine, write, tell the bus, give the request to the endpoint.
"""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
from msgspec.structs import replace

from homeport.acs.engine import settle, steps
from homeport.acs.engine.args import REFRESH, ArgumentsError, Call, untyped
from homeport.acs.engine.effects import learnt, learnt_in_parts, promoted
from homeport.acs.engine.recipes import Kind, Recipe, Run
from homeport.acs.records import (
    NO_HABITS,
    OPEN_STATUSES,
    DeviceRecord,
    DeviceState,
    FaultDetail,
    FaultRecord,
    StoredValue,
    TaskRecord,
    TaskStatus,
    Want,
)
from homeport.acs.services.continuation import TooLarge
from homeport.acs.services.devices import credential
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub, NotFound
from homeport.acs.services.leases import Leases
from homeport.acs.services.masking import masked_in_parts, masked_task, plain_url
from homeport.acs.services.work import Work
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import Conflict, TaskChange, UnitOfWork, ValuesChange
from homeport.codec import messages as m
from homeport.errors import StoreUnavailable
from homeport.session.events import name_of
from homeport.terms import FaultCode, RpcName

MANY: Final = 5_000
"""Rows of one answer from which on it is looked through in slices, so that other devices do not wait meanwhile."""

MOST_FAILURES: Final = 10_000
"""Devices of which is remembered how often something failed that the ACS itself wants; forgotten, it is tried a few times more."""

SAME_MOMENT: Final = 1.0
"""Seconds by which the clocks of two processes may differ."""

_log = structlog.get_logger("homeport.acs.sessions")

_SETTLED_BY: Final[dict[str, Kind]] = {
    RpcName.ADD_OBJECT: Kind.SETTLE_ADD_OBJECT,
    RpcName.CHANGE_DU_STATE: Kind.SETTLE_MODULES,
}
"""How the other tasks whose answer was lost are settled; transfers are the rest."""


class Turns:
    """What we ask a device, and what comes of it."""

    def __init__(self, hub: Hub, files: Files, leases: Leases) -> None:
        self._hub = hub
        self._leases = leases
        self._store = hub.store
        self._files = files
        self._failures: dict[tuple[str, Want], int] = {}
        self._gives_logins = hub.settings.cpe_login == "provision"
        self._keep = frozenset(pair.partition(":")[0] for pair in hub.settings.connection_request_users)

    async def turn(
        self, work: Work, answer: steps.Reply | None = None, *, clean: bool = False, large: bool = False
    ) -> Call | None:
        """What we ask the device next, after its answer to the last; None where we have no more. Raises StoreUnavailable.

        clean: the answer surely holds no secret. large: it is of megabytes.
        """
        if not work.manage and not await self._admitted(work):
            return None
        if work.run is None and not work.tried and not await self._busy(work):
            return None
        work.weighty = True
        work.clean = work.clean and clean
        unit = UnitOfWork()
        unit.large = large
        if answer is not None and work.request is not None:
            await self._learn(work, work.request, answer, unit)
            if work.over:
                return None  # the device is asked for it anew, in the session that it has begun meanwhile
        reply = answer if work.run is not None else None
        step: steps.Step | None = None
        while True:
            step = None
            if work.run is None and not await self._pick(work):
                break
            assert work.run is not None
            try:
                came = work.run.advance(reply)
            except ArgumentsError as e:
                came = steps.Result(TaskStatus.FAILED, fault=FaultDetail(0, str(e)))
            if isinstance(came, steps.Result):
                if await self._only_read(work, came, unit):
                    await self._finish(work, came, unit)
                    self._write_soon(work, unit)
                    return None
                ended = work.task
                await self._finish(work, came, unit)
                cancelled: list[TaskChange] = []
                if ended is not None and ended.rpc == RpcName.CANCEL_TRANSFER and came.status is TaskStatus.DONE:
                    cancelled = await self._called_off(ended)
                # What was finished must be on the disk before the next is chosen: it may wait for this one.
                await self._write_end(work, unit, cancelled)
                unit, reply = UnitOfWork(), None
                continue
            step = came
            if await self._may_send(work, step, first=reply is None, unit=unit):
                break
            unit, reply = UnitOfWork(), None
        if step is None:
            await self._write(work, unit)
            return None
        work.request = step.request
        self._hub.stats.count(self._hub.stats.rpcs, name_of(step.request))
        return step.request

    async def _admitted(self, work: Work) -> bool:
        """Whether a person has approved the device since it has opened the session."""
        record = await self._store.device(work.device)
        work.manage = record is not None and record.state is DeviceState.APPROVED
        return work.manage

    async def _busy(self, work: Work) -> bool:
        """Whether there is anything to do: the question of nearly every session, answered without a look at the disk."""
        if await self._store.open_tasks(work.device):
            return True
        record = await self._store.device(work.device)
        return record is not None and bool(record.wants)

    async def _may_send(self, work: Work, step: steps.Step, *, first: bool, unit: UnitOfWork) -> bool:
        """Write the task as sent; False where somebody has cancelled it meanwhile."""
        task = work.task
        if task is not None and not work.mending and (first or step.progress):
            if task.rpc == RpcName.FACTORY_RESET and self._gives_logins:
                # It forgets the login that it was given, perhaps before it answers, and comes back with the shared one.
                own = await self._store.credential_of(work.device)
                if work.over:
                    return False
                if own is not None:
                    unit.credentials.append(replace(own, pending=True))
            work.task = settle.sent(task, step.progress, self._hub.clock(), first=first)
            if self._unwritten(task):
                self._hub.asking[task.id] = work.task
            else:
                unit.tasks.append(TaskChange(work.task, frozenset({work.stored})))
                try:
                    unit.leases.append(self._leases.lease(work, self._store.node, stored=work.task.status))
                    work.leased = True
                except TooLarge:
                    pass  # after a crash the task is settled as if there were no lease
        try:
            await self._write(work, unit)
        except Conflict:
            work.clear(self._hub.asking)
            return False
        if unit.tasks and work.task is not None:
            work.stored = work.task.status
        return True

    def _unwritten(self, task: TaskRecord) -> bool:
        """Whether no row says that the task is asked: it only reads. Where it expires and others look at the clock, too, they must know."""
        return task.rpc in settle.READS and (task.expires is None or self._hub.peers is None)

    async def unsendable(self, work: Work, why: str) -> Call | None:
        """The request that `turn` gave cannot be sent in this session (its version, its length): what comes next instead.

        To its program it is as if the device did not have the method.
        """
        code = FaultCode.METHOD_NOT_SUPPORTED
        work.request = None  # nothing was sent, so there is no fault of the device to write down
        return await self.turn(work, m.FaultMessage(int(code), why, side=code.side))

    async def _write(self, work: Work, unit: UnitOfWork) -> None:
        if not unit.empty:
            await self._store.commit(unit)
            self._tell(work, unit)

    async def _write_end(self, work: Work, unit: UnitOfWork, others: Sequence[TaskChange] = ()) -> None:
        """Write the end of a program; where its task was ended elsewhere meanwhile, only what the answer taught.

        others: tasks that end with it, in the same commit: they are not told of again.
        """
        own = list(unit.tasks)
        unit.tasks += others
        try:
            await self._write(work, unit)
        except Conflict:
            for change in others:  # one of them has ended meanwhile: each by itself, and this one last
                await self._write_quietly(work, [change])
            unit.tasks[:] = own if others else []
            if others:
                await self._write_end(work, unit)
            else:
                await self._write(work, unit)

    async def _called_off(self, by: TaskRecord) -> list[TaskChange]:
        """The ends of the tasks whose transfers the device has cancelled for this one."""
        now, key = self._hub.clock(), str(by.args.get("command_key", ""))
        found = []
        for task in await self._store.open_tasks(by.device):
            after = settle.called_off(task, key, by.id, now)
            if after != task:
                found.append(TaskChange(masked_task(after), frozenset({task.status})))
        return found

    async def _only_read(self, work: Work, came: steps.Result, unit: UnitOfWork) -> bool:
        """Whether the last thing to do went well and only read: lost in a crash it is read again, so nobody waits for the disk.

        What was read by the thousand is waited for, so that a device cannot fill the memory. Where there are other processes, somebody may
        ask one of them at once: what they are told is what is on the disk.
        """
        task = work.task
        if self._hub.peers is not None or task is None or task.rpc not in settle.READS:
            return False
        if came.status is not TaskStatus.DONE or came.learnt or unit.large:
            return False
        if [t.id for t in await self._store.open_tasks(work.device)] != [task.id]:
            return False
        record = await self._store.device(work.device)
        return record is not None and not record.wants

    def _write_soon(self, work: Work, unit: UnitOfWork) -> None:
        """Write what was read, and its task's end, without waiting for it. Raises StoreUnavailable."""
        self._store.later(unit, partial(self._written, work, unit))

    def _written(self, work: Work, unit: UnitOfWork, error: BaseException | None) -> None:
        if error is None:
            self._tell(work, unit)
            return
        if isinstance(error, Conflict) and unit.tasks:
            unit.tasks.clear()  # its task was ended elsewhere meanwhile: only what the answer taught is kept
            try:
                self._write_soon(work, unit)
            except StoreUnavailable as e:
                error = e
            else:
                return
        _log.warning("what was read is not stored; it is read again", device=work.device, reason=str(error))

    async def _pick(self, work: Work) -> bool:
        """Start the next program: the operator's tasks, then what the ACS itself wants. False: nothing to do."""
        record = await self._store.device(work.device)
        if record is None or record.state is not DeviceState.APPROVED or work.over or self._overtaken(work, record):
            return False
        if await self._pick_task(work):
            return True
        if Want.LOGIN in record.wants and Want.LOGIN not in work.tried and record.root:
            work.tried.add(Want.LOGIN)
            work.want, work.secret = Want.LOGIN, secrets.token_urlsafe(18)
            # It is on the disk before it is on the way; the shared login opens until the device has used this one.
            given = UnitOfWork()
            username = await self._free_username(record.id)
            before = await self._store.credential_of(record.id)
            if before is not None and before.pending:
                _log.warning(
                    "a device is given another login before it has used the last one",
                    device=record.id,
                    address=work.address,
                    advice="its answer was lost, or it forgot; where this goes on, two devices come with this id and the shared login",
                )
            made = credential(username, work.secret, device=record.id, now=self._hub.clock())
            given.credentials.append(replace(made, pending=True))
            await self._store.commit(given)
            work.run = Run(Recipe(kind=Kind.LOGIN, root=record.root, username=username, password=work.secret))
            return True
        if Want.CREDENTIALS in record.wants and Want.CREDENTIALS not in work.tried and record.root:
            work.tried.add(Want.CREDENTIALS)
            work.want, work.secret = Want.CREDENTIALS, secrets.token_urlsafe(18)
            work.run = Run(
                Recipe(
                    kind=Kind.CREDENTIALS,
                    root=record.root,
                    username=record.id[:256],
                    password=work.secret,
                    keep=tuple(self._keep),
                )
            )
            return True
        if Want.DISCOVER in record.wants and Want.DISCOVER not in work.tried and record.root:
            work.tried.add(Want.DISCOVER)
            work.want = Want.DISCOVER
            work.run = Run(Recipe(kind=Kind.DISCOVER, root=record.root, habits=record.behaviour))
            return True
        return False

    def _overtaken(self, work: Work, record: DeviceRecord) -> bool:
        """Whether the device has begun a later session at another process, of which this one has not heard: it stood still."""
        later = work.started + SAME_MOMENT < record.last_inform < self._hub.clock() + SAME_MOMENT
        return later and self._hub.peers is not None

    async def _free_username(self, device: str) -> str:
        """The device's id as its user name; with something behind it where a group or another device has that name."""
        username = device[:256]
        taken = await self._store.credential(username)
        if username == self._hub.settings.cpe_username or (taken is not None and taken.device != device):
            return f"{username[:240]}.{secrets.token_hex(4)}"
        return username

    async def _pick_task(self, work: Work) -> bool:
        now, sure = self._hub.clock(), self._hub.sure()
        over: list[TaskChange] = []
        chosen: TaskRecord | None = None
        for task in settle.candidates(await self._store.open_tasks(work.device)):
            after = task
            if settle.expired(task, now):
                if not settle.expired(task, sure):
                    continue  # by a clock that has jumped: neither sent nor ended until it is believed
                after = settle.by_clock(task, patience=self._hub.patience, now=now)
            elif task.status is TaskStatus.QUEUED and task.after is not None:
                before = await self._store.task(task.after)
                if before is not None:  # else it was done, so long ago that it is not kept any more
                    after = settle.forsaken(task, before, now)
                    if after == task and before.status is not TaskStatus.DONE:
                        continue
            if after == task:
                chosen = task
                break
            over.append(TaskChange(masked_task(after), frozenset({task.status})))
        if over and not await self._write_quietly(work, over):
            for change in over:
                await self._write_quietly(work, [change])
        if chosen is None:
            return False
        mending = chosen.status is TaskStatus.UNKNOWN
        if mending:
            record = await self._store.device(work.device)
            kind = _SETTLED_BY.get(chosen.rpc, Kind.SETTLE_TRANSFER)
            recipe = Recipe(kind=kind, task=chosen, root=record.root if record is not None else "")
        else:
            recipe = await self._recipe(work, chosen)
        if work.over:
            return False
        work.task, work.stored, work.mending, work.clean = chosen, chosen.status, mending, True
        work.run = Run(recipe)
        if mending:
            self._hub.asking[chosen.id] = chosen  # the clock leaves it alone meanwhile
        return True

    async def _recipe(self, work: Work, task: TaskRecord) -> Recipe:
        try:
            sendable = await self._files.filled(task, work.address)
        except NotFound as e:
            return Recipe(kind=Kind.REFUSED, why=str(e))
        record = await self._store.device(work.device)
        habits = record.behaviour if record is not None else NO_HABITS
        if task.rpc == REFRESH and not task.args.get("path"):
            if record is None or not record.root:
                return Recipe(kind=Kind.REFUSED, why="the device has not told of which kind its tree is; give a path")
            sendable = replace(sendable, args={"path": record.root})
        return Recipe(kind=Kind.TASK, task=sendable, known=await self._types(task), habits=habits)

    async def _write_quietly(self, work: Work, changes: list[TaskChange]) -> bool:
        """Write the ends of tasks that are not sent any more; False where somebody else has ended one meanwhile, and theirs counts."""
        unit = UnitOfWork()
        unit.tasks += changes
        try:
            await self._write(work, unit)
        except Conflict:
            return False
        return True

    async def _types(self, task: TaskRecord) -> dict[str, StoredValue]:
        """What is known of the parameters that a task sets without their types."""
        names = untyped(task.args) if task.rpc == RpcName.SET_PARAMETER_VALUES else frozenset[str]()
        if not names:
            return {}
        values = await self._store.values(task.device)
        return {n: values[n] for n in names if n in values}

    async def _learn(self, work: Work, request: Call, answer: steps.Reply, unit: UnitOfWork) -> None:
        """Into the unit: what the answer teaches, and the fault where it is one."""
        now = self._hub.clock()
        if isinstance(answer, m.FaultMessage):
            self._hub.stats.count(self._hub.stats.faults, answer.fault_code)
            fault = steps.detail(answer)
            task = work.task.id if work.task is not None else ""
            unit.faults.append(
                FaultRecord(
                    id=self._hub.new_id(),
                    device=work.device,
                    session=work.id,
                    task=task,
                    at=now,
                    rpc=name_of(request),
                    code=fault.code,
                    string=plain_url(fault.string),
                    parameters=fault.parameters,
                )
            )
            return
        many = len(getattr(answer, "parameter_list", ())) > MANY
        found = await in_slices(learnt_in_parts(request, answer, now)) if many else learnt(request, answer, now)
        removed = found.removed
        below = found.complete or found.level
        if below is not None:
            known = await self._store.values(work.device, below)
            removed += await in_slices(found.gone_in_parts(known)) if len(known) > MANY else found.gone(known)
        if found.changed or removed:
            unit.values.append(ValuesChange(work.device, found.changed, removed))
            fields = promoted(found.changed)
            if fields:
                unit.patches.append((work.device, fields))

    async def _finish(self, work: Work, result: steps.Result, unit: UnitOfWork) -> None:
        """Into the unit: the end of the running program."""
        task, now = work.task, self._hub.clock()
        if result.learnt:
            await self._habits(work, result.learnt, unit)
        if task is not None:
            most = self._hub.settings.task_attempts
            after = settle.finished(task, result, attempts=most, patience=self._hub.patience, now=now)
            if after.status is TaskStatus.DONE:
                after = replace(after, result=(after.result or {}) | await self._files.received(task))
            said = self._hub.connection_request_details.pop(task.id, None)
            if said is not None:
                after = replace(after, connection_request=said)
            if after.status not in OPEN_STATUSES and not (work.clean and task.rpc in settle.READS):
                # What is kept holds no secrets that nobody needs any more.
                after = await in_slices(masked_in_parts(after))
            unit.tasks.append(TaskChange(after, frozenset({work.stored})))
        elif work.want is not None and not self._tried_again(work.device, work.want, result):
            record = await self._store.device(work.device)
            wants = record.wants if record is not None else ()
            fields: dict[str, Any] = {"wants": tuple(w for w in wants if w is not work.want)}
            if work.want is Want.CREDENTIALS and result.status is TaskStatus.DONE:
                kept = (result.result or {}).get("kept")
                fields["connection_request_username"] = kept if kept is not None else work.device[:256]
                fields["connection_request_password"] = "" if kept is not None else work.secret
            unit.patches.append((work.device, fields))
        work.clear(self._hub.asking)

    def _tried_again(self, device: str, want: Want, result: steps.Result) -> bool:
        """Whether what failed is tried once more, in the device's next session: what it could not do just after its start it often can."""
        failures = self._failures.pop((device, want), 0) + 1
        if result.status is TaskStatus.DONE or failures >= self._hub.settings.task_attempts:
            return False
        while len(self._failures) >= MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[device, want] = failures
        return True

    async def _habits(self, work: Work, learnt: dict[str, Any], unit: UnitOfWork) -> None:
        """Into the unit: how the device wants to be spoken to, where nobody has said so already."""
        record = await self._store.device(work.device)
        if record is None:
            return
        fresh = {k: v for k, v in learnt.items() if getattr(record.behaviour, k) is None}
        if fresh:
            unit.patches.append((work.device, {"behaviour": replace(record.behaviour, **fresh)}))

    def _fault(self, work: Work, task: str, rpc: str, code: int, string: str, now: float) -> FaultRecord:
        self._hub.stats.count(self._hub.stats.faults, code)
        return FaultRecord(
            id=self._hub.new_id(),
            device=work.device,
            session=work.id,
            task=task,
            at=now,
            rpc=rpc,
            code=code,
            string=plain_url(string),
        )

    def _tell(self, work: Work, unit: UnitOfWork) -> None:
        """Wake who waits, and tell listeners, after the commit."""
        bus = self._hub.bus
        self._hub.tell_tasks(unit.tasks)
        if bus.listening and unit.values:
            paths = [p for v in unit.values for p in v.changed]
            bus.publish("values", {"device": work.device, "count": len(paths), "paths": paths[:50]})
