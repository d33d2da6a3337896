import json
from dataclasses import fields

import pytest

from robust_distillation.defences.abstention import Abstention
from robust_distillation.errors import InputError
from robust_distillation.files import read_record
from robust_distillation.records import Abstaining, Classes, Composition, Detecting, Registered

ABSTAINING = {
    "measure": "passes",
    "passes": 3,
    "seed": 1,
    "class_distributions": [[1.0, 0.0]],
    "threshold": 0.5,
    "temperature": 1.0,
}


def read(folder, kind, values):
    path = folder / "record.json"
    path.write_text(json.dumps(values))
    return read_record(path, kind)


COMPOSITION = {
    "classes": {"ids": [14], "names": ["Stop"]},
    "temperature": 20.0,
    "reform": "none",
    "detector": None,
    "abstention": None,
    "networks": ["student"],
}
REGISTERED = {"name": "student", "version": "3", "run_id": "a1", "pipeline": "b2"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Classes, {"ids": [1, 14], "names": ["Speed limit (30km/h)", "Stop"], "mirror": [-1, -1]}),
        (Detecting, {"name": "mse", "threshold": 0.02, "settings": {}}),
        (Abstaining, ABSTAINING),
        (Registered, REGISTERED),
    ],
)
def test_what_the_stages_write_is_read(tmp_path, kind, values):
    assert vars(read(tmp_path, kind, values)) == values


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Classes, {"ids": [1, 14], "names": ["Stop"]}, "names must be one for each of the 2 ids. Received: 1"),
        (Classes, [1, 14], "whole file"),
        (Detecting, {"name": "mse", "threshold": -1, "settings": {}}, "threshold: .*Received: -1"),
        (Composition, COMPOSITION | {"reform": "blur"}, "reform: .*Received: 'blur'"),
        (Composition, COMPOSITION | {"networks": ["../student"]}, "networks.0: .*Received: '../student'"),
        (Abstaining, ABSTAINING | {"threshold": "high"}, "threshold: .*Received: 'high'"),
        (
            Registered,
            {"name": "student", "version": "third", "run_id": "a1", "pipeline": "b2"},
            "version: .*Received: 'third'",
        ),
    ],
)
def test_other_content_is_named(tmp_path, kind, values, said):
    with pytest.raises(InputError, match=rf"record\.json: {said}"):
        read(tmp_path, kind, values)


def test_the_fields_of_abstaining_are_those_of_the_abstention_that_it_makes():
    assert {field.name for field in fields(Abstention)} - {"student"} == {field.name for field in fields(Abstaining)}
