"""Settings of what makes the data sets: where images come from, how they are split, what they must keep to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from robust_distillation.dataset.sources import SOURCES
from robust_distillation.paths import DOWNLOADS
from robust_distillation.settings import Count, CountOrAll, Seed, Share, distinct, in_words, one_of, section

ClassIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Classes = Annotated[
    Count | ClassIds | Literal["all"], in_words("a whole number from 1, a list of class ids, or all"), distinct()
]


@section
class Synthetic:
    """Which synthetic signs to draw, and how many."""

    classes: Literal["used", "all"]
    tracks_per_class: Count
    frames_per_track: Count
    test_per_class: Count
    seed: Seed


@section
class Data:
    """Where the images come from."""

    source: Annotated[str, one_of(SOURCES)]
    archives: Annotated[Path, in_words("the path of a folder")]
    synthetic: Synthetic

    @model_validator(mode="after")
    def archives_fit_the_source(self) -> "Data":
        """Refuse a folder that the source does not read, or pickles without theirs: they cannot be downloaded."""
        if self.source == "synthetic" and self.archives != DOWNLOADS:
            raise ValueError(f"source synthetic reads no archives; set archives to {DOWNLOADS}, not {self.archives}")
        if self.source == "udacity" and self.archives == DOWNLOADS:
            raise ValueError(
                f"with source udacity, archives must name the folder of train.p, valid.p and test.p, not {DOWNLOADS}"
            )
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
