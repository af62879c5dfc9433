"""What happens in a device's session: its Inform, its own requests, our turns, the end. Row before reply, always.

The order in each verb: ask the engine, write, tell the bus, give the answer back to the endpoint.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from homeport.acs.engine import settle, steps
from homeport.acs.engine.args import REFRESH, ArgumentsError, Call, untyped
from homeport.acs.engine.effects import learnt, promoted
from homeport.acs.engine.inform import Policy, assess, identity
from homeport.acs.engine.recipes import Kind, Recipe, Run
from homeport.acs.records import (
    NO_HABITS,
    OPEN_STATUSES,
    CredentialRecord,
    DeviceRecord,
    DeviceState,
    EventRecord,
    FaultDetail,
    FaultRecord,
    GroupLogin,
    MessageTrace,
    SessionRecord,
    StoredValue,
    TaskPhase,
    TaskRecord,
    TaskStatus,
    Want,
)
from homeport.acs.services.continuation import TooLarge
from homeport.acs.services.devices import credential
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub, NotFound
from homeport.acs.services.leases import Leases
from homeport.acs.services.masking import masked, masked_task
from homeport.acs.services.work import Work
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, UnitOfWork, ValuesChange
from homeport.codec import messages as m
from homeport.codec.rpc_table import RPCS
from homeport.errors import StoreUnavailable
from homeport.session.events import name_of
from homeport.terms import EventCode, FaultCode, Role, RpcName

MANY: Final = 5_000
"""Values of one answer that are looked through by a thread, so that other devices do not wait meanwhile."""

LATELY: Final = 50
"""Events of a device among which one that is told again is looked for."""

REPEATED_WITHIN: Final = 3_600.0
"""Seconds within which an event with the same key is the same one; an operator may use a key again another day."""

_log = structlog.get_logger("homeport.acs.sessions")

_SETTLED_BY: Final[dict[str, Kind]] = {
    RpcName.ADD_OBJECT: Kind.SETTLE_ADD_OBJECT,
    RpcName.CHANGE_DU_STATE: Kind.SETTLE_MODULES,
}
"""How the other tasks whose answer was lost are settled; transfers are the rest."""

ACS_METHODS: Final = tuple(sorted(name for name, entry in RPCS.items() if Role.CPE in entry.callers))
"""What we answer: the MethodList of GetRPCMethodsResponse."""


def contact(device: str) -> str:
    """The subject that is woken when the device is heard of."""
    return f"contact:{device}"


class Sessions:
    """The verbs of a session."""

    def __init__(self, hub: Hub, files: Files, leases: Leases) -> None:
        self._hub = hub
        self._leases = leases
        self._store = hub.store
        self._files = files
        settings = hub.settings
        wants: tuple[Want, ...] = ()
        if settings.connection_request_credentials == "provision":
            wants += (Want.CREDENTIALS,)
        if settings.discover == "bootstrap":
            wants += (Want.DISCOVER,)
        self._wants = wants
        self._gives_logins = settings.cpe_login == "provision"
        self._keep = frozenset(pair.partition(":")[0] for pair in settings.connection_request_users)
        self._policies = {trusted: self._policy(trusted) for trusted in (False, True)}

    def _policy(self, trusted: bool) -> Policy:
        waits = self._hub.settings.cpe_auth == "quarantine" and not trusted
        return Policy(self._wants, DeviceState.QUARANTINED if waits else DeviceState.APPROVED)

    def _policy_for(self, trusted: bool, group: GroupLogin | None) -> Policy:
        return self._policies[trusted] if group is None else Policy(self._wants, group.state, group.tags)

    async def known(self, inform: m.Inform) -> tuple[str, DeviceRecord | None]:
        """Who sends this Inform, and what is known of it."""
        id = identity(inform)
        return id, await self._store.device(id)

    async def login_used(self, given: CredentialRecord) -> None:
        """The device has logged in with what it was given: from now on nothing else opens for it. Raises StoreUnavailable."""
        unit = UnitOfWork()
        unit.credentials.append(replace(given, pending=False))
        await self._store.commit(unit)

    # --- the Inform ---

    async def inform(
        self,
        inform: m.Inform,
        known: DeviceRecord | None,
        *,
        urn: str,
        address: str,
        trusted: bool,
        shared: bool = False,
        group: GroupLogin | None = None,
    ) -> Work:
        """The session that this Inform opens; everything that the device now forgets is then on the disk.

        trusted: the device has proved who it is. shared: by a login that others have, too, and it has none of its own yet.
        group: whose login that is, which says what a newcomer gets.
        Raises StoreUnavailable.
        """
        hub, store = self._hub, self._store
        now = hub.clock()
        hub.stats.informs += 1
        id = known.id if known is not None else identity(inform)
        reported = await store.reported(id) if known is not None else {}
        policy = self._policy_for(trusted, group)
        seen = assess(known, reported, inform, urn=urn, address=address, now=now, policy=policy)
        work = Work(hub.new_id(), id, now, address, tuple([e.event_code for e in inform.event]))
        state = known.state if known is not None else policy.newcomer
        work.manage = state is DeviceState.APPROVED
        settled = await self._settle(work, inform.event, now) if work.manage and known is not None else []
        wants = seen.fields.get("wants", known.wants if known is not None else ())
        # A login of its own is wanted for who comes with a shared one, and no longer for who comes otherwise.
        gives = shared and self._gives_logins and work.manage
        as_wanted = gives == (Want.LOGIN in wants)
        if not seen.durable and not settled and as_wanted:
            store.touch(id, seen.fields, seen.changed)
            hub.bus.wake(contact(id))
            if hub.peers is not None and EventCode.CONNECTION_REQUEST in work.events:
                hub.peers.say("session", device=id, at=now)
            return work
        unit = UnitOfWork()
        unit.tasks += settled
        work.weighty = True
        if seen.new is not None:
            unit.devices.append(seen.new)
        else:
            unit.patches.append((id, seen.fields))
        if not as_wanted:
            rest = tuple(w for w in wants if w is not Want.LOGIN)
            unit.patches.append((id, {"wants": (Want.LOGIN, *rest) if gives else rest}))
        if seen.changed:
            unit.values.append(ValuesChange(id, seen.changed))
        repeated = await self._repeated(id, inform) if known is not None and inform.retry_count else frozenset()
        for event in inform.event:
            if (event.event_code, event.command_key) in repeated:
                continue
            unit.events.append(
                EventRecord(
                    id=hub.new_id(),
                    device=id,
                    session=work.id,
                    at=now,
                    code=event.event_code,
                    command_key=event.command_key,
                )
            )
        try:
            await store.commit(unit)
        except Conflict:
            # Another session of the same device was quicker to make it, or to settle its task: theirs counts.
            return await self._again(
                inform, urn=urn, address=address, trusted=trusted, shared=shared, group=group, failed=unit
            )
        self._tell(work, unit)
        hub.bus.wake(contact(id))
        if hub.peers is not None:
            hub.peers.say("session", device=id, at=now)
        if hub.bus.listening:
            hub.bus.publish("inform", {"device": id, "session": work.id, "events": list(work.events), "new": not known})
        return work

    async def _again(
        self,
        inform: m.Inform,
        *,
        urn: str,
        address: str,
        trusted: bool,
        shared: bool,
        group: GroupLogin | None,
        failed: UnitOfWork,
    ) -> Work:
        id, known = await self.known(inform)
        if known is None and failed.devices:
            raise StoreUnavailable(f"the device {id} could not be stored")
        return await self.inform(inform, known, urn=urn, address=address, trusted=trusted, shared=shared, group=group)

    async def _settle(self, work: Work, events: Sequence[m.EventStruct], now: float) -> list[TaskChange]:
        """What becomes of tasks whose answer was lost with an earlier session, and of restarts that the device now tells of."""
        settings = self._hub.settings
        changes = []
        tasks = await self._store.open_tasks(work.device)
        for task in tasks:
            if task.status is not TaskStatus.QUEUED:
                after = settle.at_inform(
                    task, events, attempts=settings.task_attempts, patience=self._hub.patience, now=now
                )
                if after != task:
                    after = after if after.status in OPEN_STATUSES else masked_task(after)
                    changes.append(TaskChange(after, frozenset({task.status})))
        return changes

    async def _repeated(self, device: str, inform: m.Inform) -> frozenset[tuple[str, str]]:
        """Ends of commanded reboots and transfers that the device tells again because our answer was lost, and that are stored already.

        Only those: their keys are their own, while a boot that is told once more may as well be another one.
        """
        ends = {(e.event_code, e.command_key) for e in inform.event if e.event_code.startswith("M ") and e.command_key}
        if not ends:
            return frozenset()
        page = await self._store.events_of(device, limit=LATELY, cursor=None)
        since = self._hub.clock() - REPEATED_WITHIN
        return frozenset(ends & {(e.code, e.command_key) for e in page.items if e.at >= since})

    # --- the device's own requests ---

    async def request(self, work: Work, request: Call) -> m.Response | m.FaultMessage:
        """Our answer to a CPE's call; what it tells is on the disk. Raises StoreUnavailable."""
        hub = self._hub
        hub.stats.count(hub.stats.rpcs, name_of(request) if isinstance(request, m.Request) else "vendor")
        if isinstance(request, m.GetRPCMethods):
            return m.GetRPCMethodsResponse(ACS_METHODS)
        work.weighty = True
        if not isinstance(request, m.Request) or request.element not in ACS_METHODS:
            code = FaultCode.ACS_METHOD_NOT_SUPPORTED
            return m.FaultMessage(int(code), code.text, side=code.side)
        now = hub.clock()
        unit = UnitOfWork()
        told: dict[str, Any] = masked(msgspec.to_builtins(request))
        key, ended = told.get("command_key", ""), False
        unit.events.append(
            EventRecord(
                id=hub.new_id(),
                device=work.device,
                session=work.id,
                at=now,
                code=request.element,
                command_key=key,
                detail=told,
            )
        )
        match request:
            case m.TransferComplete(fault_struct=fault):
                ended = await self._transfer(work, key, told, fault, unit, now)
            case m.DUStateChangeComplete(results=results):
                worst = next((r.fault for r in results if r.fault.fault_code), None)
                ended = await self._transfer(work, key, told, worst, unit, now)
            case m.AutonomousTransferComplete(fault_struct=fault) if fault.fault_code:
                unit.faults.append(self._fault(work, "", request.element, fault.fault_code, fault.fault_string, now))
            case m.AutonomousDUStateChangeComplete(results=results):
                for fault in (r.fault for r in results if r.fault.fault_code):
                    told_by = self._fault(work, "", request.element, fault.fault_code, fault.fault_string, now)
                    unit.faults.append(told_by)
        if not ended and key and await self._told_before(work.device, request.element, told):
            return RPCS[request.element].response()  # our answer was lost: it is told once more, and stored already
        await self._store.commit(unit)
        self._tell(work, unit)
        if hub.bus.listening:
            hub.bus.publish("request", {"device": work.device, "session": work.id, "rpc": request.element})
        if isinstance(request, m.Kicked):
            return m.KickedResponse(request.next)
        return RPCS[request.element].response()

    async def _transfer(
        self,
        work: Work,
        key: str,
        told: dict[str, Any],
        fault: m.FaultStruct | None,
        unit: UnitOfWork,
        now: float,
    ) -> bool:
        """Whether this ends a task; matched by the CommandKey alone, because times and order are not to be trusted."""
        for task in await self._store.open_tasks(work.device):
            if (
                key
                and task.command_key == key
                and task.rpc in settle.TRANSFERS
                and task.status is not TaskStatus.QUEUED
            ):
                told = told | await self._files.received(task)
                after = masked_task(settle.transfer_ended(task, told, fault, now))
                unit.tasks.append(TaskChange(after, frozenset({task.status})))
                if after.fault is not None:
                    unit.faults.append(self._fault(work, task.id, task.rpc, after.fault.code, after.fault.string, now))
                return True
        return False

    async def _told_before(self, device: str, rpc: str, told: dict[str, Any]) -> bool:
        """Whether the device's last words hold exactly this one."""
        page = await self._store.events_of(device, limit=LATELY, cursor=None)
        return any(e.code == rpc and e.detail == told for e in page.items)

    # --- our turns ---

    async def turn(self, work: Work, answer: steps.Reply | None = None, *, clean: bool = False) -> Call | None:
        """What we ask the device next, after its answer to the last; None where we have no more. Raises StoreUnavailable.

        clean: the answer surely holds no secret.
        """
        if not work.manage:
            return None
        if work.run is None and not work.tried and not await self._busy(work):
            return None
        work.weighty = True
        work.clean = work.clean and clean
        unit = UnitOfWork()
        if answer is not None and work.request is not None:
            await self._learn(work, work.request, answer, unit)
        reply = answer if work.run is not None else None
        step: steps.Step | None = None
        while True:
            step = None
            if work.run is None and not await self._pick(work, unit):
                break
            assert work.run is not None
            try:
                came = work.run.advance(reply)
            except ArgumentsError as e:
                came = steps.Result(TaskStatus.FAILED, fault=FaultDetail(0, str(e)))
            if isinstance(came, steps.Result):
                if await self._only_read(work, came):
                    await self._finish(work, came, unit)
                    self._write_soon(work, unit)
                    return None
                await self._finish(work, came, unit)
                # What was finished must be on the disk before the next is chosen: it may wait for this one.
                await self._write_end(work, unit)
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
            work.task = settle.sent(task, step.progress, self._hub.clock(), first=first)
            if task.rpc in settle.READS:
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

    async def _write_end(self, work: Work, unit: UnitOfWork) -> None:
        """Write the end of a program; where its task was ended elsewhere meanwhile, only what the answer taught."""
        try:
            await self._write(work, unit)
        except Conflict:
            unit.tasks.clear()
            await self._write(work, unit)

    async def _only_read(self, work: Work, came: steps.Result) -> bool:
        """Whether the last thing to do went well and only read: lost in a crash it is read again, so nobody waits for the disk."""
        task = work.task
        if task is None or came.status is not TaskStatus.DONE or task.rpc not in settle.READS or came.learnt:
            return False
        if [t.id for t in await self._store.open_tasks(work.device)] != [task.id]:
            return False
        record = await self._store.device(work.device)
        return record is not None and not record.wants

    def _write_soon(self, work: Work, unit: UnitOfWork) -> None:
        """Write what was read, and its task's end, without waiting for it. Raises StoreUnavailable."""

        def done(error: BaseException | None) -> None:
            if error is None:
                self._tell(work, unit)
            elif isinstance(error, Conflict) and unit.tasks:
                unit.tasks.clear()  # its task was ended elsewhere meanwhile: only what the answer taught is kept
                if not unit.empty:
                    self._store.later(unit, done)
            else:
                _log.warning("what was read is not stored; it is read again", device=work.device, reason=str(error))

        self._store.later(unit, done)

    async def _pick(self, work: Work, unit: UnitOfWork) -> bool:
        """Start the next program: the operator's tasks, then what the ACS itself wants. False: nothing to do."""
        record = await self._store.device(work.device)
        if record is None:
            return False
        if await self._pick_task(work, unit):
            return True
        if Want.LOGIN in record.wants and Want.LOGIN not in work.tried and record.root:
            work.tried.add(Want.LOGIN)
            work.want, work.secret = Want.LOGIN, secrets.token_urlsafe(18)
            # It is on the disk before it is on the way; the shared login opens until the device has used this one.
            given = UnitOfWork()
            username = await self._free_username(record.id)
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

    async def _free_username(self, device: str) -> str:
        """The device's id as its user name; with something behind it where a group or another device has that name."""
        username = device[:256]
        taken = await self._store.credential(username)
        if username == self._hub.settings.cpe_username or (taken is not None and taken.device != device):
            return f"{username[:240]}.{secrets.token_hex(4)}"
        return username

    async def _pick_task(self, work: Work, unit: UnitOfWork) -> bool:
        now = self._hub.clock()
        for task in settle.candidates(await self._store.open_tasks(work.device)):
            if settle.expired(task, now):
                gone = replace(task, status=TaskStatus.EXPIRED, finished=now)
                unit.tasks.append(TaskChange(gone, frozenset({task.status})))
                continue
            if task.after is not None:
                before = await self._store.task(task.after)
                if before is not None and before.status in (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.UNKNOWN):
                    continue
                if before is not None and before.status is not TaskStatus.DONE:
                    fault = FaultDetail(0, f"the task {task.after}, which this one waits for, is {before.status}")
                    failed = replace(task, status=TaskStatus.FAILED, fault=fault, finished=now)
                    unit.tasks.append(TaskChange(failed, frozenset({task.status})))
                    continue
            if unit.tasks:
                await self._write_quietly(work, unit)
            work.task, work.stored = task, task.status
            work.mending = task.status is TaskStatus.UNKNOWN
            work.clean = True
            if not work.mending:
                work.run = Run(await self._recipe(work, task))
            else:
                record = await self._store.device(work.device)
                kind = _SETTLED_BY.get(task.rpc, Kind.SETTLE_TRANSFER)
                work.run = Run(Recipe(kind=kind, task=task, root=record.root if record is not None else ""))
            return True
        return False

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

    async def _write_quietly(self, work: Work, unit: UnitOfWork) -> None:
        """Write expiries; where somebody else has ended such a task, theirs counts."""
        try:
            await self._write(work, unit)
        except Conflict:
            pass  # the task has another end already; it is looked at again in the next session
        unit.tasks.clear()

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
                    string=fault.string,
                    parameters=fault.parameters,
                )
            )
            return
        if isinstance(answer, m.GetParameterValuesResponse) and len(answer.parameter_list) > MANY:
            found = await asyncio.to_thread(learnt, request, answer, now)
        else:
            found = learnt(request, answer, now)
        removed = found.removed
        below = found.complete or found.level
        if below is not None:
            removed += found.gone(await self._store.values(work.device, below))
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
            after = settle.finished(task, result, attempts=self._hub.settings.task_attempts, now=now)
            if after.status is TaskStatus.DONE:
                after = replace(after, result=(after.result or {}) | await self._files.received(task))
            if task.rpc == RpcName.FACTORY_RESET and after.phase is TaskPhase.TRANSFER and self._gives_logins:
                # It forgets the login that it was given, and comes back with the shared one.
                own = await self._store.credential_of(work.device)
                if own is not None:
                    unit.credentials.append(replace(own, pending=True))
            said = self._hub.connection_request_details.pop(task.id, None)
            if said is not None:
                after = replace(after, connection_request=said)
            if after.status not in OPEN_STATUSES and not (work.clean and task.rpc in settle.READS):
                after = masked_task(after)  # what is kept holds no secrets that nobody needs any more
            unit.tasks.append(TaskChange(after, frozenset({work.stored})))
        elif work.want is not None:
            record = await self._store.device(work.device)
            wants = record.wants if record is not None else ()
            fields: dict[str, Any] = {"wants": tuple(w for w in wants if w is not work.want)}
            if work.want is Want.CREDENTIALS and result.status is TaskStatus.DONE:
                kept = (result.result or {}).get("kept")
                fields["connection_request_username"] = kept if kept is not None else work.device[:256]
                fields["connection_request_password"] = "" if kept is not None else work.secret
            unit.patches.append((work.device, fields))
        work.clear(self._hub.asking)

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
            string=string,
        )

    def _tell(self, work: Work, unit: UnitOfWork) -> None:
        """Wake who waits, and tell listeners, after the commit."""
        bus = self._hub.bus
        for change in unit.tasks:
            bus.wake(change.record.id)
            if bus.listening:
                task = change.record
                bus.publish("task", {"device": task.device, "task": task.id, "rpc": task.rpc, "status": task.status})
        if bus.listening and unit.values:
            paths = [p for v in unit.values for p in v.changed]
            bus.publish("values", {"device": work.device, "count": len(paths), "paths": paths[:50]})

    async def quirks(self, work: Work, seen: Sequence[str], *, most: int) -> None:
        """Remember habits of the device's messages that were not known yet."""
        record = await self._store.device(work.device)
        if record is None:
            return
        quirks = tuple(dict.fromkeys((*record.quirks, *seen)))[:most]
        if quirks != record.quirks:
            self._store.touch(work.device, {"quirks": quirks}, {})

    # --- the end ---

    async def ended(
        self, work: Work, *, outcome: str, reason: str, unanswered: bool, messages: Sequence[MessageTrace]
    ) -> None:
        """The session is over: an RPC without an answer leaves its task unknown, and the history gets its row.

        Raises StoreUnavailable; the task then still says running, and is settled at the next contact all the same.
        """
        hub = self._hub
        hub.stats.count(hub.stats.sessions, outcome)
        hub.stats.session_lasted(hub.clock() - work.started)
        task, mending, stored = work.task, work.mending, work.stored
        work.clear(self._hub.asking)
        if task is not None and not mending and task.status is TaskStatus.RUNNING:
            unit = UnitOfWork()
            after = settle.lost(task) if unanswered else replace(task, status=TaskStatus.QUEUED, phase=TaskPhase.NONE)
            unit.tasks.append(TaskChange(after, frozenset({stored})))
            try:
                await self._store.commit(unit)
                self._tell(work, unit)
            except Conflict:
                pass  # the task has found its end another way (deleted with its device)
        if work.leased:
            work.weighty = True
        if work.weighty or outcome != "success":
            unit = UnitOfWork()
            if work.leased:
                unit.released.append((work.device, work.id))
            record = SessionRecord(
                id=work.id,
                device=work.device,
                started=work.started,
                ended=hub.clock(),
                outcome=outcome,
                reason=reason,
                address=work.address,
                events=work.events,
                message_count=len(messages),
            )
            unit.sessions.append(SessionChange(record, tuple(messages)))
            self._store.later(unit)
            if hub.bus.listening:
                hub.bus.publish("session", {"device": work.device, "session": work.id, "outcome": outcome})
