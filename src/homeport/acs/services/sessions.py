"""What happens in a device's session: its Inform, its own requests, the end; our turns are in `turns`. Row before reply, always.

The order in each verb: ask the engine, write, tell the bus, give the answer back to the endpoint.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from homeport.acs.engine import settle
from homeport.acs.engine.args import Call
from homeport.acs.engine.inform import LONGEST_KEY, STRANGERS_REQUESTS, Policy, assess, brief, identity, of_a_stranger
from homeport.acs.records import (
    NOTHING_TOLD,
    OPEN_STATUSES,
    CredentialRecord,
    DeviceRecord,
    DeviceState,
    EventRecord,
    GroupLogin,
    MessageTrace,
    SessionRecord,
    TaskPhase,
    TaskRecord,
    TaskStatus,
    Want,
)
from homeport.acs.services.devices import wants_of
from homeport.acs.services.files import Files
from homeport.acs.services.hub import CONTACT, Hub
from homeport.acs.services.leases import Leases
from homeport.acs.services.masking import end_as_kept, end_without_echo, masked, masked_task, same_but_masked
from homeport.acs.services.retold import LATELY, told_before, told_before_start
from homeport.acs.services.turns import Turns
from homeport.acs.services.work import Work
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, UnitOfWork, ValuesChange
from homeport.codec import messages as m
from homeport.codec.rpc_table import RPCS
from homeport.errors import StoreUnavailable
from homeport.session.events import name_of
from homeport.terms import EventCode, FaultCode, Role

NONE: Final[frozenset[tuple[str, str]]] = frozenset()

_STARTED: Final = frozenset({EventCode.BOOTSTRAP, EventCode.BOOT, EventCode.M_REBOOT})
"""Events of an Inform that tell of a restart, perhaps of one that was waited for in vain."""

ACS_METHODS: Final = tuple(sorted(name for name, entry in RPCS.items() if Role.CPE in entry.callers))
"""What we answer: the MethodList of GetRPCMethodsResponse."""


def contact(device: str) -> str:
    """The subject that is woken when the device is heard of."""
    return f"{CONTACT}{device}"


class Sessions(Turns):
    """The verbs of a session."""

    def __init__(self, hub: Hub, files: Files, leases: Leases) -> None:
        super().__init__(hub, files, leases)
        self.known = hub.store.device if hub.peers is None else hub.store.fresh
        """What is known of the device with this id. One that was called for a task may be here before this process has heard of that
        task from the one that made it."""
        self._wants = wants_of(hub.settings)
        self._at_first = hub.settings.discover == "first-contact"
        self._policies = {trusted: self._policy(trusted) for trusted in (False, True)}

    def _policy(self, trusted: bool) -> Policy:
        waits = self._hub.settings.cpe_auth == "quarantine" and not trusted
        state = DeviceState.QUARANTINED if waits else DeviceState.APPROVED
        return Policy(self._wants, state, at_first=self._at_first)

    def _policy_for(self, trusted: bool, group: GroupLogin | None) -> Policy:
        if group is None:
            return self._policies[trusted]
        return Policy(self._wants, group.state, group.tags, at_first=self._at_first)

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
        Raises StoreUnavailable, NoRoom.
        """
        hub, store = self._hub, self._store
        now = hub.clock()
        hub.stats.informs += 1
        id = known.id if known is not None else identity(inform)
        reported = await store.reported(id) if known is not None else NOTHING_TOLD
        policy = self._policy_for(trusted, group)
        seen = assess(known, reported, inform, urn=urn, address=address, now=now, policy=policy)
        work = Work(hub.new_id(), id, now, address, tuple([e.event_code for e in inform.event]))
        state = known.state if known is not None else policy.newcomer
        work.manage = state is DeviceState.APPROVED
        changed = seen.changed if work.manage or not seen.changed else of_a_stranger(seen.changed, inform)
        settled = await self._settle(work, inform.event, known, now) if work.manage and known is not None else []
        wants = seen.fields.get("wants", known.wants if known is not None else ())
        # A login of its own is wanted for who comes with a shared one, and no longer for who comes otherwise.
        gives = shared and self._gives_logins and work.manage
        as_wanted = gives == (Want.LOGIN in wants)
        if not seen.durable and not settled and as_wanted:
            store.touch(id, seen.fields, changed)
            hub.bus.wake(contact(id))
            if hub.peers is not None and EventCode.CONNECTION_REQUEST in work.events:
                hub.peers.say("session", device=id, at=now)
            if hub.bus.watched:
                told = {"device": id, "session": work.id, "events": list(work.events), "new": False}
                hub.bus.mention("inform", told)
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
        if changed:
            unit.values.append(ValuesChange(id, changed))
        repeated = NONE
        if known is not None and inform.retry_count:
            repeated = await told_before(store, known, inform, now)
        elif known is not None and not _STARTED.isdisjoint(work.events):
            repeated = await told_before_start(store, known, inform, now)
        for event in inform.event:
            if (event.event_code, event.command_key) in repeated:
                continue
            unit.events.append(
                EventRecord(
                    id=hub.new_id(),
                    device=id,
                    session=work.id,
                    at=now,
                    code=event.event_code[:LONGEST_KEY],
                    command_key=event.command_key[:LONGEST_KEY],
                )
            )
        try:
            if seen.new is None or trusted:
                await store.commit(unit)
            else:
                async with hub.newcomers.one(id, address):
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
            told = {"device": id, "session": work.id, "events": list(work.events), "new": not known}
            if repeated:
                told["repeated"] = sorted(code for code, _ in repeated)
            hub.bus.publish("inform", told)
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
        id = identity(inform)
        known = await self.known(id)
        if known is None and failed.devices:
            raise StoreUnavailable(f"the device {id} could not be stored")
        return await self.inform(inform, known, urn=urn, address=address, trusted=trusted, shared=shared, group=group)

    async def _settle(
        self, work: Work, events: Sequence[m.EventStruct], known: DeviceRecord, now: float
    ) -> list[TaskChange]:
        """What becomes of tasks whose answer was lost with an earlier session, and of restarts that the device now tells of.

        known: the device as it was before this Inform.
        """
        settings = self._hub.settings
        changes = []
        tasks = await self._store.open_tasks(work.device)
        for task in tasks:
            if task.status is not TaskStatus.QUEUED or task.progress:
                after = settle.at_inform(
                    task, events, attempts=settings.task_attempts, patience=self._hub.patience, now=self._hub.sure()
                )
                if after != task:
                    after = after if after.status in OPEN_STATUSES else masked_task(after)
                    changes.append(TaskChange(after, frozenset({task.status})))
        if not _STARTED.isdisjoint(work.events):
            for task in await self._store.overdue_tasks(work.device):
                since = task.progress.get("accepted", task.progress.get("lost", 0.0))
                first = known.last_inform <= since
                after = settle.late(task, events, first=first, now=now)
                if after != task:
                    changes.append(TaskChange(after, frozenset({task.status})))
        return changes

    # --- the device's own requests ---

    async def request(self, work: Work, request: Call) -> m.Response | m.FaultMessage:
        """Our answer to a CPE's call; what it tells is on the disk. `work.unechoed` is then what of it may be shown, where that is less.

        Raises StoreUnavailable.
        """
        hub = self._hub
        work.unechoed = None
        hub.stats.count(hub.stats.rpcs, name_of(request) if isinstance(request, m.Request) else "vendor")
        if isinstance(request, m.GetRPCMethods):
            return m.GetRPCMethodsResponse(ACS_METHODS)
        work.weighty = True
        if not isinstance(request, m.Request) or request.element not in ACS_METHODS:
            code = FaultCode.ACS_METHOD_NOT_SUPPORTED
            return m.FaultMessage(int(code), code.text, side=code.side)
        if not work.manage:
            work.told += 1
            if work.told > STRANGERS_REQUESTS:
                code = FaultCode.ACS_RESOURCES_EXCEEDED
                return m.FaultMessage(int(code), code.text, side=code.side)
        try:
            return await self._told(work, request)
        except Conflict:
            return await self._told(work, request)  # the clock or an operator ended its task in this moment: once more

    async def _told(self, work: Work, request: m.Request) -> m.Response:
        """What the device tells, on the disk, and our answer."""
        hub = self._hub
        now = hub.clock()
        unit = UnitOfWork()
        task = None
        if isinstance(request, m.TransferComplete | m.DUStateChangeComplete):
            task = await self._ended_by(work, request.command_key)
            if task is not None:
                request = work.unechoed = end_without_echo(request, task)
        told: dict[str, Any] = masked(msgspec.to_builtins(request))
        if not work.manage:
            told = brief(told)
        key = told.get("command_key", "")
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
            case m.TransferComplete(fault_struct=fault) if task is not None:
                await self._transfer(work, task, told, fault, unit, now)
            case m.DUStateChangeComplete(results=results) if task is not None:
                worst = next((r.fault for r in results if r.fault.fault_code), None)
                await self._transfer(work, task, told, worst, unit, now)
            case m.AutonomousTransferComplete(fault_struct=fault) if fault.fault_code:
                unit.faults.append(self._fault(work, "", request.element, fault.fault_code, fault.fault_string, now))
            case m.AutonomousDUStateChangeComplete(results=results):
                for fault in (r.fault for r in results if r.fault.fault_code):
                    told_by = self._fault(work, "", request.element, fault.fault_code, fault.fault_string, now)
                    unit.faults.append(told_by)
        kept = await self._told_before(work.device, request.element, told) if task is None and key else None
        if kept is not None:
            work.unechoed = end_as_kept(request, kept)
            return RPCS[request.element].response()  # our answer was lost: it is told once more, and stored already
        await self._store.commit(unit)
        self._tell(work, unit)
        if hub.bus.listening:
            hub.bus.publish("request", {"device": work.device, "session": work.id, "rpc": request.element})
        if isinstance(request, m.Kicked):
            return m.KickedResponse(request.next)
        return RPCS[request.element].response()

    async def _ended_by(self, work: Work, key: str) -> TaskRecord | None:
        """The task whose end a device tells with this key: matched by that alone, because times and order are not to be trusted.

        Also one that has failed because this was not told in time.
        """

        def meant(task: TaskRecord) -> bool:
            sent = task.status is not TaskStatus.QUEUED or task.progress.get("again")
            return task.command_key == key and task.rpc in settle.TRANSFERS and bool(sent)

        if not key:
            return None
        waiting = [t for t in await self._store.open_tasks(work.device) if meant(t)]
        return next((t for t in waiting or await self._store.overdue_tasks(work.device) if meant(t)), None)

    async def _transfer(
        self,
        work: Work,
        task: TaskRecord,
        told: dict[str, Any],
        fault: m.FaultStruct | None,
        unit: UnitOfWork,
        now: float,
    ) -> None:
        """The task has ended as the device tells."""
        told = told | await self._files.received(task)
        after = masked_task(settle.transfer_ended(task, told, fault, now))
        unit.tasks.append(TaskChange(after, frozenset({task.status})))
        if after.fault is not None:
            unit.faults.append(self._fault(work, task.id, task.rpc, after.fault.code, after.fault.string, now))

    async def _told_before(self, device: str, rpc: str, told: dict[str, Any]) -> dict[str, Any] | None:
        """What is kept of exactly this, where it is among the device's last words."""
        page = await self._store.events_of(device, limit=LATELY, cursor=None)
        return next((e.detail for e in page.items if e.code == rpc and same_but_masked(e.detail, told)), None)

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
        work.over = True
        work.clear(self._hub.asking)
        begun = task is not None and not mending and task.status is TaskStatus.RUNNING
        if begun and work.leased and hub.peers is not None and not await self._leases.held(work):
            # Another process has gone on with it, or has settled its task: what this one knows of it is old.
            begun, work.leased = False, False
        if task is not None and begun:
            unit = UnitOfWork()
            if unanswered:
                after = settle.lost(task, patience=hub.patience, now=hub.clock())
            else:
                after = replace(task, status=TaskStatus.QUEUED, phase=TaskPhase.NONE)
            # The row that says that it is sent may be on its way to the disk in this moment.
            unit.tasks.append(TaskChange(after, frozenset({stored, task.status})))
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
