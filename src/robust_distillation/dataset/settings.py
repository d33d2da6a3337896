"""Settings of what makes the data sets: where images come from, how they are split, what they must keep to."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from robust_distillation.dataset.sources import SOURCES
from robust_distillation.paths import DOWNLOADS
from robust_distillation.settings import Count, CountOrAll, Seed, Share, distinct, in_words, one_of, section

ClassIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Classes = Annotated[
    Count | ClassIds | Literal["all"], in_words("a whole number from 1, a list of class ids, or all"), distinct()
]
WITHIN = {"synthetic": "drawn", "digits": "scikit-learn"}  # sources that need no files, and where they are from
READ = {  # sources of a user's own files, which cannot be downloaded
    "udacity": "the folder of train.p, valid.p and test.p",
    "folder": "the folder that holds a folder of images for each class",
    "csv": "the folder of the table and its images",
    "npz": "the file",
}


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    if groups != 1:
        raise ValueError("must have one group in parentheses, such as '([0-9]+)_[0-9]+[.]png$'")
    return pattern


@section
class Synthetic:
    """Which synthetic signs to draw, and how many."""

    classes: Classes
    tracks_per_class: Count
    frames_per_track: Count
    test_per_class: Count
    seed: Seed


@section
class Columns:
    """Which columns of a table say what of an image."""

    path: str
    label: str
    box: Annotated[list[str], Field(min_length=4, max_length=4), distinct()] | None
    group: str | None


@section
class Data:
    """Where the images come from."""

    source: Annotated[str, one_of(SOURCES)]
    path: Annotated[Path, in_words("a path")]
    group: Annotated[str, AfterValidator(_one_group)] | None
    csv: Columns
    synthetic: Synthetic

    @model_validator(mode="after")
    def path_fits_the_source(self) -> "Data":
        """Refuse a path that the source does not read, and none where it needs one."""
        named = self.path != DOWNLOADS
        if self.source in WITHIN and named:
            raise ValueError(f"source {self.source} reads no files; set path to {DOWNLOADS}, not {self.path}")
        if self.source in READ and not named:
            raise ValueError(f"with source {self.source}, path must name {READ[self.source]}, not {DOWNLOADS}")
        if self.group and self.csv.group:
            raise ValueError("group and csv.group both say what may not be split; set one of them to null")
        return self


@section
class Dataset:
    """What the generator makes of them."""

    classes: Classes
    train_samples: CountOrAll
    validate_samples: Count
    test_samples: CountOrAll
    trusted_samples: Annotated[int, Field(ge=0)]
    image_size: Annotated[int, Field(ge=8, le=512)]
    colour: Literal["rgb", "grey"]
    crop_to_roi: bool
    seed: Seed

    @model_validator(mode="after")
    def trusted_can_be_split(self) -> "Dataset":
        """Refuse a trusted part of one image, of which the autoencoder and the threshold need a half each."""
        if self.trusted_samples == 1:
            raise ValueError("trusted_samples 1 cannot be split in two; choose 0 for none, or more")
        return self


@section
class Draw:
    """Further images that the source draws; none with 0 tracks."""

    tracks_per_class: Annotated[int, Field(ge=0)]
    frames_per_track: Count
    seed: Seed


@section
class Validate:
    """Bounds that the data must keep."""

    min_side: Count
    max_side: Count
    min_per_class: Count
    min_std: Annotated[float, Field(ge=0)]
    max_rejected_share: Share
    max_shared_share: Share

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> "Validate":
        """Refuse bounds between which no side lies."""
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}; lower it or raise the other")
        return self
