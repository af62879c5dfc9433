"""Programs that are taken up by another process stand where they stood, whatever they are and however far they came."""

import msgspec
import pytest

from homeport.acs.engine.recipes import Kind, Recipe, Run, resumed
from homeport.acs.engine.steps import Result, Step
from homeport.acs.records import Behaviour, StoredValue, TaskRecord
from homeport.codec import messages as m


def a_task(rpc: str, **args: object) -> TaskRecord:
    return TaskRecord(id="t", device="d", rpc=rpc, args=args, command_key="k", progress={"instances": [1]})


def names(*paths: str) -> m.GetParameterNamesResponse:
    return m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(p, True) for p in paths))


def values(*paths: str) -> m.GetParameterValuesResponse:
    return m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(p, "v", "string") for p in paths))


FAULT = m.FaultMessage(9005, "Invalid parameter name")
SET = a_task("SetParameterValues", parameter_list=[{"name": "D.a", "value": "1"}, {"name": "D.b", "value": 2}])
SPV_FAULT = m.FaultMessage(9003, "Invalid arguments", (m.SetParameterValuesFault("D.a", 9007, "Invalid value"),))

PLAYS: list[tuple[Recipe, list[m.Message]]] = [
    (Recipe(kind=Kind.TASK, task=a_task("Reboot", command_key="k")), [m.RebootResponse()]),
    (Recipe(kind=Kind.TASK, task=SET), [values("D.a", "D.b"), SPV_FAULT, m.SetParameterValuesResponse(0)]),
    (Recipe(kind=Kind.TASK, task=SET, known={"D.a": StoredValue("0", "int")}), [values("D.b"), FAULT, FAULT, FAULT]),
    (
        Recipe(kind=Kind.TASK, task=a_task("AddObject", object_name="D.X.")),
        [names("D.X.1."), m.AddObjectResponse(2, 0)],
    ),
    (
        Recipe(
            kind=Kind.TASK,
            task=a_task("GetParameterValues", parameter_names=["D.a", "D.b", "D.c"]),
            habits=Behaviour(max_names=2),
        ),
        [FAULT, values("D.a"), FAULT, values("D.c")],
    ),
    (Recipe(kind=Kind.SETTLE_ADD_OBJECT, task=a_task("AddObject", object_name="D.X.")), [names("D.X.1.", "D.X.2.")]),
    (
        Recipe(
            kind=Kind.SETTLE_TRANSFER, task=a_task("Download", file_type="1 Firmware Upgrade Image", url="http://x/")
        ),
        [FAULT, m.GetQueuedTransfersResponse(())],
    ),
    (
        Recipe(kind=Kind.DISCOVER, root="D."),
        [FAULT, names("D.", "D.a", "D.X."), names("D.X.b"), FAULT, values("D.a"), values("D.X.b")],
    ),
    (Recipe(kind=Kind.CREDENTIALS, root="D.", username="u", password="p", keep=("x",)), [values("D.y"), FAULT]),
]


@pytest.mark.parametrize(("recipe", "answers"), PLAYS, ids=lambda x: getattr(x, "kind", ""))
def test_a_program_that_was_written_down_after_any_answer_goes_on_as_if_it_had_not(
    recipe: Recipe, answers: list[m.Message]
) -> None:
    """Recipe and answers go through bytes and back; the rest of the play is then the same, and so is its end."""
    alone = Run(recipe)
    steps = [alone.advance(None), *(alone.advance(a) for a in answers)]
    assert isinstance(steps[-1], Result)
    assert all(isinstance(s, Step) for s in steps[:-1])
    for cut in range(len(answers)):
        run = Run(recipe)
        run.advance(None)
        for answer in answers[:cut]:
            run.advance(answer)
        blob = msgspec.msgpack.encode((run.recipe, run.told()))
        read, told = msgspec.msgpack.decode(blob, type=tuple[Recipe, list[object]])
        again = resumed(read, told)
        assert again.request == run.request
        assert [again.advance(a) for a in answers[cut:]] == steps[cut + 1 :]


def test_a_tree_that_is_read_is_not_kept_for_the_case_of_a_handover() -> None:
    """Of the values only that they came: discovery looks at nothing else, and thousands of devices may be discovered at once."""
    run = Run(Recipe(kind=Kind.DISCOVER, root="D."))
    run.advance(None)
    run.advance(names("D.a"))
    assert isinstance(run.advance(values("D.a")), Result)
    assert run.replies[-1] == m.GetParameterValuesResponse(())


def test_answers_of_another_version_are_refused() -> None:
    """A program that ends before its last answer, or an answer that this version does not know."""
    recipe = Recipe(kind=Kind.TASK, task=a_task("Reboot", command_key="k"))
    done = {"_": "RebootResponse"}
    with pytest.raises(ValueError, match="ended before"):
        resumed(recipe, [done])
    with pytest.raises(ValueError, match="cannot be read"):
        resumed(recipe, [{"_": "Nonsense"}])
