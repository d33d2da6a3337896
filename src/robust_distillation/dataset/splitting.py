"""Which raw images go into which set. Known tracks are not split, so frames of one physical sign never cross."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robust_distillation.dataset.archives import Record
from robust_distillation.dataset.udacity import TRAIN
from robust_distillation.errors import InputError

Track = list[Record]
Counts = int | Literal["all"]


@dataclass
class ClassTracks:
    """The tracks of one class: those dealt to a set, and those still in the pool."""

    label: int
    pool: list[Track]
    train: list[Track]
    validate: list[Track]
    trusted: list[Track]


def drop_duplicates(
    training: Sequence[Record],
    test: Sequence[Record],
    read_files: Callable[[Iterable[Record]], Iterator[bytes]],
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Drop the training images whose files equal, byte for byte, a test image or a training image of another track.

    An image without a track is on a track of its own.

    Args:
        training: of equal images, the first stays.
        test: stays whole.
        read_files: reads the files of records, in their order.

    Returns:
        The training records that stay, and the ids of each one dropped with its twin that stays.
    """
    both = [*test, *training]
    count = Counter((record.crc, record.n_bytes) for record in both)
    suspects = [record for record in both if count[record.crc, record.n_bytes] > 1]
    first: dict[bytes, Record] = {}
    official = {record.id for record in test}
    dropped = {}
    for record, file in zip(suspects, read_files(suspects), strict=True):
        twin = first.setdefault(file, record)
        one_track = record.track == twin.track >= 0
        if twin is not record and record.id not in official and not one_track:
            dropped[record.id] = twin.id
    return [record for record in training if record.id not in dropped], list(dropped.items())


def share_out(total: int, capacities: Sequence[int]) -> list[int]:
    """Split `total` as evenly as the capacities permit, remainder to the first; sums to at most their sum."""
    shares = [0] * len(capacities)
    total = min(total, sum(capacities))
    while total:
        unfilled = [index for index, capacity in enumerate(capacities) if shares[index] < capacity]
        each, rest = divmod(total, len(unfilled))
        for position, index in enumerate(unfilled):
            share = min(each + (position < rest), capacities[index] - shares[index])
            shares[index] += share
            total -= share
    return shares


def split_training(
    training: Sequence[Record],
    classes: Sequence[int],
    *,
    train: Counts,
    validate: int,
    trusted: int,
    rng: np.random.Generator,
) -> dict[str, list[Record]]:
    """Choose the train, validate and trusted sets from the training records.

    Train and validate are shared evenly over the classes and are exact. Trusted is as even as the tracks that those two
    leave permit. A count is spread over as many tracks as can be had; with train "all", validate and trusted take the
    fewest tracks that give their count, and train every image of every other track.

    Args:
        training: records of the training archive.
        classes: class ids to take.
        train: total number of images, or "all".
        validate: total number of images.
        trusted: total number of images; 0 for none.
        rng: decides which tracks and frames.

    Returns:
        The records of "train", "validate" and "trusted".

    Raises:
        InputError: a class has too few images on too few tracks, or no class has any left for trusted.
    """
    dealt = [_shuffled_tracks(training, label, rng) for label in classes]
    n_validate = share_out(validate, [validate] * len(classes))
    n_train = [1] * len(classes) if train == "all" else share_out(train, [train] * len(classes))
    for one, for_validate, for_train in zip(dealt, n_validate, n_train, strict=True):
        available = f"{sum(map(len, one.pool))} images on {len(one.pool)} tracks"
        one.validate, one.train = _take(one.pool, for_validate), _take(one.pool, for_train)
        if sum(map(len, one.validate)) < for_validate or sum(map(len, one.train)) < for_train:
            raise InputError(
                f"dataset: class {one.label}: asked for {for_train} train and {for_validate} validate samples, "
                f"no track in both, available {available}; lower them, or choose other classes"
            )
    n_trusted = share_out(trusted, [sum(map(len, one.pool)) for one in dealt])
    if trusted and not sum(n_trusted):
        raise InputError(
            f"dataset: asked for {trusted} trusted samples, but train and validate need every track of every class; "
            "lower train_samples or validate_samples"
        )
    chosen: dict[str, list[Record]] = {"train": [], "validate": [], "trusted": []}
    for one, for_train, for_validate, for_trusted in zip(dealt, n_train, n_validate, n_trusted, strict=True):
        one.trusted = _take(one.pool, for_trusted)
        if train == "all":
            one.train += one.pool
            for_train = sum(map(len, one.train))
        else:
            _deal_rest(one.pool, [(one.train, for_train), (one.validate, for_validate), (one.trusted, for_trusted)])
        chosen["train"] += _spread(one.train, for_train, rng)
        chosen["validate"] += _spread(one.validate, for_validate, rng)
        chosen["trusted"] += _spread(one.trusted, for_trusted, rng)
    return chosen


def split_untracked(
    training: Sequence[Record],
    classes: Sequence[int],
    *,
    train: Counts,
    validate: int,
    trusted: int,
    rng: np.random.Generator,
) -> dict[str, list[Record]]:
    """Choose train and trusted from the rows of `train.p`, by class, and validate from the other rows.

    Train and validate are shared evenly over the classes and are exact. Trusted is exact, and as even as the images
    that train leaves permit; with train "all", train is what trusted leaves.

    Args:
        training: rows of `train.p` and of the validation pickle.
        classes: class ids to take.
        train: total number of images, or "all".
        validate: total number of images.
        trusted: total number of images; 0 for none.
        rng: decides which rows.

    Returns:
        The records of "train", "validate" and "trusted".

    Raises:
        InputError: a class has too few images, or all of them together have too few for trusted.
    """
    pools = _by_class([record for record in training if record.archive.name == TRAIN], classes)
    least = len(classes) if train == "all" else train
    n_train = _even_shares("train", least, classes, pools)
    spare = [len(pool) - for_train for pool, for_train in zip(pools, n_train, strict=True)]
    if trusted > sum(spare):
        raise InputError(
            f"dataset: asked for {trusted} trusted samples, available {sum(spare)} beside {least} train samples; "
            "lower trusted_samples or train_samples"
        )
    others = [record for record in training if record.archive.name != TRAIN]
    chosen = {"train": [], "validate": choose_evenly("validate", others, classes, validate, rng), "trusted": []}
    for pool, for_train, for_trusted in zip(pools, n_train, share_out(trusted, spare), strict=True):
        shuffled = [pool[index] for index in rng.permutation(len(pool))]
        chosen["trusted"] += shuffled[:for_trusted]
        chosen["train"] += shuffled[for_trusted : None if train == "all" else for_trusted + for_train]
    return chosen


def choose_evenly(
    name: str, records: Sequence[Record], classes: Sequence[int], count: Counts, rng: np.random.Generator
) -> list[Record]:
    """Choose the set `name` from records of its own, shared evenly over the classes.

    Raises:
        InputError: a class has too few images.
    """
    pools = _by_class(records, classes)
    if count == "all":
        return [record for pool in pools for record in pool]
    chosen: list[Record] = []
    for pool, share in zip(pools, _even_shares(name, count, classes, pools), strict=True):
        chosen += [pool[index] for index in rng.choice(len(pool), share, replace=False)]
    return chosen


def _by_class(records: Sequence[Record], classes: Sequence[int]) -> list[list[Record]]:
    return [[record for record in records if record.label == label] for label in classes]


def _even_shares(name: str, count: int, classes: Sequence[int], pools: Sequence[Sequence[Record]]) -> list[int]:
    """`count` split evenly over the classes; an InputError if a class has fewer."""
    shares = share_out(count, [count] * len(classes))
    for label, pool, share in zip(classes, pools, shares, strict=True):
        if not pool:
            raise InputError(
                f"dataset: class {label}: no image for {name}; correct the labels, or leave {label} out of the classes"
            )
        if share > len(pool):
            raise InputError(
                f"dataset: class {label}: asked for {share} {name} samples, available {len(pool)}; lower {name}_samples"
            )
    return shares


def _shuffled_tracks(training: Sequence[Record], label: int, rng: np.random.Generator) -> ClassTracks:
    tracks: dict[int, Track] = defaultdict(list)
    for record in training:
        if record.label == label:
            tracks[record.track].append(record)
    in_order = [tracks[key] for key in sorted(tracks)]
    return ClassTracks(label, [in_order[index] for index in rng.permutation(len(in_order))], [], [], [])


def _take(pool: list[Track], count: int) -> list[Track]:
    """Move the fewest tracks that hold `count` images out of the pool, and the shortest that do at the end."""
    taken: list[Track] = []
    while count > 0 and pool:
        enough = [index for index, track in enumerate(pool) if len(track) >= count]
        sizes = {index: len(track) for index, track in enumerate(pool)}
        index = min(enough, key=sizes.__getitem__) if enough else max(sizes, key=sizes.__getitem__)
        count -= sizes[index]
        taken.append(pool.pop(index))
    return taken


def _deal_rest(pool: list[Track], hands: Sequence[tuple[list[Track], int]]) -> None:
    """Deal the pool in proportion to the counts, to no set more tracks than images."""
    for track in pool:
        hungry = [(tracks, count) for tracks, count in hands if len(tracks) < count]
        if hungry:
            tracks, _ = max(hungry, key=lambda hand: hand[1] / len(hand[0]))
            tracks.append(track)


def _spread(tracks: Sequence[Track], count: int, rng: np.random.Generator) -> list[Record]:
    """`count` frames, as evenly over the tracks as their lengths permit and evenly spaced within each."""
    chosen: list[Record] = []
    for track, share in zip(tracks, share_out(count, [len(track) for track in tracks]), strict=True):
        positions = (np.arange(share) + rng.random()) * len(track) / max(share, 1)
        chosen += [track[int(position)] for position in positions]
    return chosen
