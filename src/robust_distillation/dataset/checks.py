"""What an image set must keep before anything is trained on it: a Great Expectations suite over one row per image."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.settings import Validate
from robust_distillation.files import replacing
from robust_distillation.progress import Bar

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd

MAY_LACK_CLASSES = "trusted"


@dataclass(frozen=True)
class Check:
    """What became of one expectation.

    Attributes:
        name: short and stable.
        expectation: what was expected, in words.
        success: whether the data keep it, with the tolerance that the bounds allow.
        failed: number of rows that break it; may exceed 0 in a success within the tolerance.
        rows: the first 20 of them, each `split:id`.
    """

    name: str
    expectation: str
    success: bool
    failed: int
    rows: list[str]

    def __str__(self) -> str:
        more = f" and {self.failed - len(self.rows)} more" if self.failed > len(self.rows) else ""
        return f"{self.name} ({self.expectation}): {self.failed} failed: {', '.join(self.rows)}{more}"


@dataclass(frozen=True)
class Verdict:
    """What became of the whole suite: the same data and bounds give an equal verdict.

    Attributes:
        success: whether every check succeeded.
        images: number of images in each set.
        checks: one per expectation, by name.
    """

    success: bool
    images: dict[str, int]
    checks: list[Check]


def image_table(sets: dict[str, ImageSet]) -> pd.DataFrame:
    """One row per image of every set.

    Args:
        sets: by name of the split.

    Returns:
        columns split, id, label, track; width, height, x1, y1, x2, y2 in pixels of the raw image; min, max, mean, std
        (0 to 255) and sha256 of the stored pixels; image_splits and track_splits: in how many splits the same pixels
        and the same track occur. A track is counted within its label; track_splits is NaN where there is none.
    """
    import pandas as pd

    images = pd.concat([_rows(split, images) for split, images in sets.items() if len(images)], ignore_index=True)
    images["image_splits"] = images.groupby("sha256")["split"].transform("nunique")
    track_splits = images.groupby(["label", "track"])["split"].transform("nunique")
    images["track_splits"] = track_splits.where(images["track"] >= 0)
    return images


def _rows(split: str, images: ImageSet) -> pd.DataFrame:
    import pandas as pd

    pixels = [
        (int(image.min()), int(image.max()), float(image.mean()), float(image.std()), hashlib.sha256(image).hexdigest())
        for image in Bar(np.ascontiguousarray(images.features), desc=f"describe {split}", unit="image")
    ]
    known = pd.DataFrame({"split": split, "id": images.ids, "label": images.labels, "track": images.tracks})
    boxes = pd.DataFrame(np.hstack([images.sizes, images.coords]), columns=["width", "height", "x1", "y1", "x2", "y2"])
    described = pd.DataFrame(pixels, columns=["min", "max", "mean", "std", "sha256"])
    return pd.concat([known, boxes, described], axis="columns")


def class_table(images: pd.DataFrame, splits: list[str], n_classes: int) -> pd.DataFrame:
    """One row per split and class, a class without images included: columns split, id (`class N`) and images."""
    import pandas as pd

    cells = pd.MultiIndex.from_product([splits, range(n_classes)], names=["split", "label"])
    counts = images.groupby(["split", "label"]).size().reindex(cells, fill_value=0).reset_index(name="images")
    counts["id"] = [f"class {label}" for label in counts["label"]]
    return counts[["split", "id", "images"]]


def _image_expectations(bounds: Validate, n_classes: int) -> list[gx.expectations.Expectation]:
    import great_expectations.expectations as gxe

    def between(name: str, text: str, column: str, **limits: Any) -> gxe.Expectation:
        return gxe.ExpectColumnValuesToBeBetween(column=column, description=text, meta={"name": name}, **limits)

    def above(name: str, text: str, larger: str, smaller: str, or_equal: bool) -> gxe.Expectation:
        return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=larger, column_B=smaller, or_equal=or_equal, description=text, meta={"name": name}
        )

    side = {"min_value": bounds.min_side, "max_value": bounds.max_side}
    side_text = f"is {bounds.min_side} to {bounds.max_side} pixels"
    mostly_seen = 1 - bounds.max_rejected_share
    mostly_apart = 1 - bounds.max_shared_share
    return [
        gxe.ExpectColumnValuesToBeUnique(column="id", description="an id occurs once", meta={"name": "id_unique"}),
        between("label_in_range", f"a label is 0 to {n_classes - 1}", "label", min_value=0, max_value=n_classes - 1),
        between("width_in_bounds", f"the raw width {side_text}", "width", **side),
        between("height_in_bounds", f"the raw height {side_text}", "height", **side),
        between("box_left_inside", "the sign's box starts inside the image", "x1", min_value=0),
        between("box_top_inside", "the sign's box starts inside the image", "y1", min_value=0),
        above("box_right_inside", "the sign's box ends inside the image", "width", "x2", True),
        above("box_bottom_inside", "the sign's box ends inside the image", "height", "y2", True),
        above("box_has_width", "the sign's box ends right of its start", "x2", "x1", False),
        above("box_has_height", "the sign's box ends below its start", "y2", "y1", False),
        between(
            "image_not_black",
            f"a pixel is above 0, in all images but a share of {bounds.max_rejected_share}",
            "max",
            min_value=1,
            mostly=mostly_seen,
        ),
        between(
            "image_not_constant",
            f"the pixels' standard deviation is at least {bounds.min_std}, "
            f"in all images but a share of {bounds.max_rejected_share}",
            "std",
            min_value=bounds.min_std,
            mostly=mostly_seen,
        ),
        between(
            "image_in_one_split",
            f"the same pixels occur in one split only, in all images but a share of {bounds.max_shared_share}",
            "image_splits",
            max_value=1,
            mostly=mostly_apart,
        ),
        between("track_in_one_split", "a physical sign occurs in one split only", "track_splits", max_value=1),
    ]


def _class_expectations(bounds: Validate) -> list[gx.expectations.Expectation]:
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="images",
            min_value=bounds.min_per_class,
            description=f"a class has at least {bounds.min_per_class} images in each split",
            meta={"name": "class_has_images"},
        )
    ]


def validate_sets(sets: dict[str, ImageSet], bounds: Validate, n_classes: int, docs: Path | None) -> Verdict:
    """Judge image sets by a Great Expectations suite.

    Args:
        sets: by name of the split; `trusted` alone may lack classes.
        bounds: what the data must keep.
        n_classes: labels are 0 to `n_classes` - 1.
        docs: folder to replace by browsable Data Docs (open `index.html`); None writes none. Their file names carry the
            time, so they differ from run to run.
    """
    images = image_table(sets)
    classes = class_table(images, [split for split in sets if split != MAY_LACK_CLASSES], n_classes)
    with replacing(docs) if docs else nullcontext() as folder:
        context = _context(folder)
        checks = _checks(context, "images", images, _image_expectations(bounds, n_classes))
        checks += _checks(context, "classes", classes, _class_expectations(bounds))
        context.build_data_docs()
    counts = {split: len(images) for split, images in sets.items()}
    return Verdict(
        success=all(check.success for check in checks),
        images=counts,
        checks=sorted(checks, key=attrgetter("name")),
    )


def _context(docs: Path | None) -> gx.data_context.EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    root = str(docs.absolute()) if docs else None
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "root_directory": root,
            "base_directory": root,
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={"docs": site} if docs else {},
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _checks(
    context: gx.data_context.EphemeralDataContext,
    name: str,
    table: pd.DataFrame,
    expectations: list[gx.expectations.Expectation],
) -> list[Check]:
    import great_expectations as gx

    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = gx.ValidationDefinition(name=name, data=asset.add_batch_definition_whole_dataframe(name), suite=suite)
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table},
        result_format={"result_format": "SUMMARY", "unexpected_index_column_names": ["split", "id"]},
    )
    return [_check(result) for result in outcome.results]


def _check(outcome: gx.core.ExpectationValidationResult) -> Check:
    found = cast(dict[str, Any], outcome.to_json_dict())
    return Check(
        name=found["expectation_config"]["meta"]["name"],
        expectation=found["expectation_config"]["description"],
        success=found["success"],
        failed=found["result"]["unexpected_count"],
        rows=[f"{row['split']}:{row['id']}" for row in found["result"]["partial_unexpected_index_list"]],
    )
