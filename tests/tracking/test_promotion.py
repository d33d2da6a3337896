import itertools
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import wraps

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from robust_distillation.errors import InputError
from robust_distillation.tracking import cli, store
from robust_distillation.tracking.promotion import history, promote, rollback

ROBUST = "robustness.defence.worst_case.0.01"
GOOD = {"student_accuracy": 0.9, "coverage": 0.95, ROBUST: 0.5, "robustness.flags.softmax_outputs": 0.0}
WRITES = (  # what a move calls to change the store, in the order of the first calls
    "create_run",
    "log_batch",
    "set_model_version_tag",
    "set_registered_model_alias",
    "transition_model_version_stage",
    "set_terminated",
)
MOVE_TOGETHER = """
import multiprocessing
import time
import mlflow  # once, before the processes part
from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.tracking import promotion, store
from robust_distillation.tracking.promotion import promote, rollback

context = multiprocessing.get_context("fork")
ready = context.Barrier(8)
read = promotion._current

def read_and_dawdle(*arguments):
    current = read(*arguments)
    time.sleep(0.3)  # for the others to come in between, if they can
    return current

promotion._current = read_and_dawdle

def move(number):
    with store.connected():
        ready.wait(100)
    try:
        if number % 4 == 3:
            rollback(load_params(), force=True, reason=str(number))
        else:
            promote(load_params(), number % 4 + 1, force=True, reason=str(number))
    except InputError as error:
        return str(error)

with context.Pool(8) as pool:
    print(*filter(None, pool.map(move, range(8), chunksize=1)), sep="\\n")
"""


@pytest.fixture
def gated(params):
    minima = {"min_clean_accuracy": 0.8, "min_coverage": 0.8, "min_robust_accuracy": 0.4}
    return replace(params, promotion=replace(params.promotion, **minima))


@pytest.fixture
def register(gated):
    """Register a version whose run has the given metrics."""
    name = gated.register.name

    def register_one(metrics):
        with store.connected() as client:
            if not client.search_registered_models():
                client.create_registered_model(name)
            run = client.create_run(store.experiment(client, name), tags={"git_commit": "c0ffee" + "0" * 34})
            for key, value in metrics.items():
                client.log_metric(run.info.run_id, key, value)
            return str(client.create_model_version(name, run.info.artifact_uri, run_id=run.info.run_id).version)

    return register_one


def staged(params):
    """Return the version behind the alias, those in stage Staging, and those tagged staging."""
    with store.connected() as client:
        versions = client.search_model_versions(f"name = '{params.register.name}'")
        aliases = client.get_registered_model(params.register.name).aliases
    return (
        next(map(str, aliases.values()), None),
        [str(item.version) for item in versions if item.current_stage == "Staging"],
        [str(item.version) for item in versions if item.tags.get("stage") == "staging"],
    )


def test_the_newest_version_goes_to_staging_without_a_warning(gated, register):
    register(GOOD)
    newest = register(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        move = promote(gated)
    assert staged(gated) == (newest, [newest], [newest])
    assert (move.action, move.from_version, move.to_version, move.forced) == ("promote", "", newest, False)
    assert history(gated) == [move]


def test_a_raised_reliability_flag_blocks_unless_forced(gated, register):
    flags = {"robustness.flags.zero_gradients": 1.0}
    register(GOOD | flags)
    with pytest.raises(InputError, match=r"flags\.zero_gradients is raised.*whose gradient is zero in every pixel"):
        promote(gated)
    move = promote(gated, force=True, reason="known")
    assert move.forced
    assert move.metrics == GOOD | flags
    register(GOOD | dict.fromkeys(flags, 0.0))
    assert not promote(gated).forced


def test_without_flags_no_robust_accuracy_is_believed(gated, register):
    register({name: value for name, value in GOOD.items() if "flags" not in name})
    with pytest.raises(InputError, match=r"robustness\.flags\.\* are missing"):
        promote(gated)


def test_the_trail_says_who_when_what_and_why(gated, register):
    first, second = register(GOOD), register(GOOD | {"student_accuracy": 0.95, "teacher_loss": 1.0})
    promote(gated, int(first))
    move = promote(gated, reason="better")
    assert history(gated)[-1] == move
    assert move.who == "Tester"
    assert move.when.endswith("+00:00")
    assert (move.from_version, move.to_version, move.reason) == (first, second, "better")
    assert move.commit.startswith("c0ffee")
    assert move.metrics == GOOD | {"student_accuracy": 0.95}
    with store.connected() as client:
        tags = client.get_model_version(gated.register.name, second).tags
        assert client.get_model_version(gated.register.name, first).tags["stage"] == "archived"
    assert (tags["staging.who"], tags["staging.from_version"], tags["staging.reason"]) == ("Tester", first, "better")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_accuracy": 0.79}, "refused: student_accuracy 0.79 is below 0.8 "),
        ({"coverage": 0.5, ROBUST: 0.1}, f"refused: coverage 0.5 is below 0.8, {ROBUST} 0.1 is below 0.4 "),
    ],
)
def test_the_gate_refuses_with_the_numbers(gated, register, change, message):
    register(GOOD | change)
    with pytest.raises(InputError, match=message):
        promote(gated)
    assert staged(gated) == (None, [], [])
    assert history(gated) == []


def test_a_missing_metric_blocks(gated, register):
    register({"student_accuracy": 0.9, "coverage": 0.95})
    with pytest.raises(InputError, match=f"refused: {ROBUST} is missing"):
        promote(gated)


def test_force_needs_a_reason_and_leaves_it_in_the_trail(gated, register):
    register(GOOD | {"coverage": 0.1})
    with pytest.raises(InputError, match="--force: needs --reason TEXT"):
        promote(gated, force=True, reason=" ")
    assert promote(gated, force=True, reason="demo").forced
    (entry,) = history(gated)
    assert (entry.forced, entry.reason, entry.metrics["coverage"]) == (True, "demo", 0.1)


def test_rollback_walks_back_through_what_was_promoted(gated, register):
    one, two, three = (register(GOOD) for _ in range(3))
    promote(gated, int(one))
    promote(gated, int(two))
    assert rollback(gated, reason="bad").to_version == one
    assert staged(gated) == (one, [one], [one])
    promote(gated, int(three))
    assert rollback(gated).to_version == one
    with pytest.raises(InputError, match="nothing to roll back to"):
        rollback(gated)
    assert [(move.action, move.from_version, move.to_version) for move in history(gated)] == [
        ("promote", "", one),
        ("promote", one, two),
        ("rollback", two, one),
        ("promote", one, three),
        ("rollback", three, one),
    ]


def test_rollback_refuses_what_the_trail_does_not_explain(gated, register):
    one, two = register(GOOD), register(GOOD)
    promote(gated, int(two))
    promote(gated, int(one))
    with store.connected() as client:
        client.set_registered_model_alias(gated.register.name, "staging", two)
    with pytest.raises(InputError, match="version 2 is in staging, which the trail does not say"):
        rollback(gated)


def test_versions_that_cannot_be_promoted_are_named(gated, register):
    with pytest.raises(InputError, match="traffic-sign-student: no version is registered; run `dvc repro`"):
        promote(gated)
    with pytest.raises(InputError, match="nothing to roll back to"):
        rollback(gated)
    register(GOOD)
    with pytest.raises(InputError, match="version 7: not registered; there are 1"):
        promote(gated, 7)


def test_promoting_what_is_in_staging_changes_nothing(gated, register):
    register(GOOD)
    assert promote(gated)
    assert promote(gated) is None
    assert len(history(gated)) == 1
    assert "in staging already" in CliRunner().invoke(cli.promote, ["--version", "1"]).output


def test_a_reason_that_the_trail_would_not_keep_is_refused(gated, register):
    register(GOOD)
    promote(gated)
    with pytest.raises(InputError, match=r"version 1: in staging already; nothing moves, .* leave it out"):
        promote(gated, force=True, reason="once more")
    assert len(history(gated)) == 1


def test_the_commands(gated, register):
    register(GOOD)
    register(GOOD)
    run = CliRunner().invoke
    assert run(cli.history).output == "no version was promoted yet\n"
    assert "version 1 is in staging, the first" in run(cli.promote, ["--version", "1"]).output
    assert (
        "version 2 is in staging, instead of version 1"
        in run(cli.promote, ["--version", "2", "--reason", "newer"]).output
    )
    assert "version 1 is in staging, instead of version 2" in run(cli.rollback).output
    header, *lines = run(cli.history).output.splitlines()
    assert header.split() == ["when", "action", "from", "to", "who", "commit", "forced", "gate", "reason"]
    rows = [line for line in lines if "Tester" in line]
    assert len(rows) == 3
    assert "newer" in rows[1]
    assert "c0ffee00" in rows[1]


def test_history_fits_120_columns_whatever_was_given(gated, register):
    register(GOOD | {"student_accuracy": 0.25, "robustness.flags.zero_gradients": 1.0})
    promote(gated, force=True, reason="[bold] words " + "that go on and on " * 20)
    lines = CliRunner().invoke(cli.history).output.splitlines()
    assert max(map(len, lines)) <= 120
    told = " ".join(" ".join(lines).split())
    assert all(part in told for part in ("yes", "student_accuracy 0.25 < 0.8", "coverage 0.95 >= 0.8", "[bold]"))
    assert "flag zero_gradients" in told
    assert "softmax_outputs" not in told


def test_rollback_passes_the_gate_of_today_or_says_that_it_was_forced(gated, register):
    one, two = register(GOOD | {"coverage": 0.85}), register(GOOD)
    promote(gated, int(one))
    promote(gated, int(two))
    stricter = replace(gated, promotion=replace(gated.promotion, min_coverage=0.9))
    with pytest.raises(InputError, match=r"version 1: refused: coverage 0\.85 is below 0\.9 "):
        rollback(stricter)
    assert staged(gated)[0] == two
    with pytest.raises(InputError, match="--force: needs --reason TEXT"):
        rollback(stricter, force=True)
    move = rollback(stricter, force=True, reason="less bad")
    assert (move.forced, move.reason, move.gate["coverage"]) == (True, "less bad", 0.9)
    assert history(gated)[0].gate == {"student_accuracy": 0.8, "coverage": 0.8, ROBUST: 0.4}
    assert staged(gated) == (one, [one], [one])


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(monkeypatch, number: int) -> None:
    """Make the store's client raise instead of its write with this number, counted from 0, and all later ones."""
    count = itertools.count()
    for name in WRITES:
        method = getattr(MlflowClient, name)

        def write(*arguments, _method=method, **keywords):
            if next(count) >= number:
                raise KilledError
            return _method(*arguments, **keywords)

        monkeypatch.setattr(MlflowClient, name, wraps(method)(write))


N_WRITES = 15  # of a move that replaces a version: run, what it holds, 10 tags, alias, stage, end
KILLS = [("promote", number) for number in range(N_WRITES)] + [
    ("rollback", number) for number in (0, 1, 2, N_WRITES - 1)
]


@pytest.mark.parametrize(("action", "number"), KILLS)
def test_whoever_comes_next_finishes_or_drops_a_move_that_was_killed(gated, register, action, number):
    one, two = register(GOOD), register(GOOD)
    promote(gated, int(one))
    if action == "rollback":
        promote(gated, int(two))
    before, target = (one, two) if action == "promote" else (two, one)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, number)
        with pytest.raises(KilledError):
            promote(gated, int(two), reason="r") if action == "promote" else rollback(gated, reason="r")
    last = history(gated)[-1]
    decided = number > 1
    assert last.to_version == (target if decided else before)
    assert (last.reason == "r") == decided
    assert staged(gated) == (last.to_version, [last.to_version], [last.to_version])
    assert history(gated)[-1] == last
    with store.connected() as client:
        trail = store.experiment(client, f"{gated.register.name}-promotions")
        assert not client.search_runs([trail], "attributes.status = 'RUNNING'")
        tags = client.get_model_version(gated.register.name, last.to_version).tags
    assert tags["staging.from_version"] == last.from_version
    if last.to_version == two:
        assert rollback(gated).to_version == one


def test_a_killed_move_whose_version_is_gone_is_dropped(gated, register):
    one = register(GOOD)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(KilledError):
            promote(gated)
    with store.connected() as client:
        client.delete_model_version(gated.register.name, one)
    assert history(gated) == []


def test_a_move_does_the_writes_that_are_killed_above(gated, register, monkeypatch):
    register(GOOD)
    register(GOOD)
    promote(gated, 1)
    kill_at(monkeypatch, N_WRITES)
    assert promote(gated, 2)


def test_moves_at_once_leave_one_chain(gated, register):
    for _ in range(3):
        register(GOOD)
    done = subprocess.run([sys.executable, "-c", MOVE_TOGETHER], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    refused = [line for line in done.stdout.splitlines() if line]
    assert all("nothing to roll back to" in line or "in staging already" in line for line in refused)
    moves = history(gated)
    assert len(moves) == 8 - len(refused)
    assert [move.from_version for move in moves] == ["", *(move.to_version for move in moves[:-1])]
    assert all(move.from_version != move.to_version for move in moves)
    assert staged(gated) == (moves[-1].to_version,) + 2 * ([moves[-1].to_version],)


def test_the_same_on_a_server(gated, register, server, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, server)
    one, two = register(GOOD), register(GOOD)
    promote(gated, int(one))
    promote(gated)
    assert staged(gated) == (two, [two], [two])
    assert rollback(gated).to_version == one
    assert staged(gated) == (one, [one], [one])
    assert [move.action for move in history(gated)] == ["promote", "promote", "rollback"]
