import warnings
from dataclasses import replace

import pytest
from click.testing import CliRunner

from robust_distillation.errors import InputError
from robust_distillation.files import write_json
from robust_distillation.paths import REGISTERED
from robust_distillation.tracking import cli, store
from robust_distillation.tracking.promotion import history, promote, rollback

ROBUST = "robustness.defence.worst_case.0.01"
GOOD = {"student_accuracy": 0.9, "coverage": 0.95, ROBUST: 0.5, "robustness.flags.softmax_outputs": 0.0}


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
    with pytest.raises(InputError, match=r"robustness\.flags\.zero_gradients is raised"):
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
    assert "in staging already" in CliRunner().invoke(cli.promote).output


def test_the_commands(gated, register):
    register(GOOD)
    register(GOOD)
    run = CliRunner().invoke
    assert run(cli.history).output == "no version was promoted yet\n"
    assert "version 1 is in staging, the first" in run(cli.promote, ["--version", "1"]).output
    assert "version 2 is in staging, instead of version 1" in run(cli.promote, ["--reason", "newer"]).output
    assert "version 1 is in staging, instead of version 2" in run(cli.rollback).output
    header, *rows = run(cli.history).output.splitlines()
    assert header.split()[:5] == ["when", "action", "from_version", "to_version", "who"]
    assert len(rows) == 3
    assert "newer" in rows[1]
    assert "c0ffee00" in rows[1]


def test_what_is_promoted_is_what_this_folder_registered_not_what_an_experiment_did(gated, register):
    mine = register(GOOD)
    register(GOOD)
    write_json(REGISTERED, {"name": gated.register.name, "version": mine})
    assert "version 1 is in staging, the first" in CliRunner().invoke(cli.promote).output
    assert staged(gated)[0] == mine


def test_the_same_on_a_server(gated, register, server, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, server)
    one, two = register(GOOD), register(GOOD)
    promote(gated, int(one))
    promote(gated)
    assert staged(gated) == (two, [two], [two])
    assert rollback(gated).to_version == one
    assert staged(gated) == (one, [one], [one])
    assert [move.action for move in history(gated)] == ["promote", "promote", "rollback"]
