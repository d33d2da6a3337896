"""Which raw images go into which set. Known tracks are not split, so frames of one physical sign never cross.

An image without a track is on a track of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from robust_distillation.dataset.readers.reader import Record
from robust_distillation.errors import InputError

Track = list[Record]
Counts = int | Literal["all"]


@dataclass
class ClassTracks:
    """The tracks of one class: those dealt to a set, and those still in the pool."""

    label: int
    pool: list[Track]
    train: list[Track] = field(default_factory=list)
    validate: list[Track] = field(default_factory=list)
    test: list[Track] = field(default_factory=list)
    trusted: list[Track] = field(default_factory=list)


def drop_duplicates(
    training: Sequence[Record],
    test: Sequence[Record],
    read_files: Callable[[Iterable[Record]], Iterator[bytes]],
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Drop the training images whose files equal, byte for byte, a test image or a training image of another track.

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
    test: int,
    trusted: int,
    rng: np.random.Generator,
) -> dict[str, list[Record]]:
    """Choose the train, validate, test and trusted sets from the training records.

    Train, validate and test are shared evenly over the classes and are exact. Trusted is as even as the tracks that
    those leave permit. A count is spread over as many tracks as can be had; with train "all", the other sets take the
    fewest tracks that give their count, and train every image of every other track. Where a track holds images of
    several classes, see `split_shared`.

    Args:
        training: records of no set yet.
        classes: class ids to take.
        train: total number of images, or "all".
        validate: total number of images; 0 where the source has a validation set of its own.
        test: total number of images; 0 where the source has a test set of its own.
        trusted: total number of images; 0 for none.
        rng: decides which tracks and frames.

    Returns:
        The records of "train", "validate", "test" and "trusted".

    Raises:
        InputError: a class has too few images on too few tracks, or what is left is not enough for trusted: where there
            are tracks, no class has any left.
    """
    counts = {"train": train, "validate": validate, "test": test, "trusted": trusted}
    if _shared_tracks(training):
        return split_shared(training, classes, counts, rng)
    dealt = [ClassTracks(label, _shuffled_tracks(training, [label], rng)) for label in classes]
    n_validate, n_test = (share_out(count, [count] * len(classes)) for count in (validate, test))
    n_train = [1] * len(classes) if train == "all" else share_out(train, [train] * len(classes))
    tracked = any(record.track >= 0 for record in training)
    for one, for_validate, for_test, for_train in zip(dealt, n_validate, n_test, n_train, strict=True):
        available = f"{sum(map(len, one.pool))}" + (f" images on {len(one.pool)} tracks" if tracked else "")
        one.validate, one.test = _take(one.pool, for_validate), _take(one.pool, for_test)
        one.train = _take(one.pool, for_train)
        asked = {"train": for_train, "validate": for_validate, "test": for_test}
        if any(sum(map(len, getattr(one, name))) < count for name, count in asked.items()):
            raise InputError(
                f"dataset: class {one.label}: asked for "
                f"{' and '.join(f'{count} {name}' for name, count in asked.items() if count)} samples, "
                f"{'no track in two sets, ' if tracked else ''}available {available}; lower "
                f"{' or '.join(f'{name}_samples' for name, count in asked.items() if count)}, or choose other classes"
            )
    spare = [sum(map(len, one.pool)) for one in dealt]
    if trusted and (not sum(spare) or (not tracked and trusted > sum(spare))):
        raise InputError(
            f"dataset: asked for {trusted} trusted samples, available {sum(spare)} beside {sum(n_train)} train samples"
            f"{', since no track is in two sets' if tracked else ''}; lower trusted_samples, or what the other sets ask"
        )
    n_trusted = share_out(trusted, spare)
    chosen: dict[str, list[Record]] = {name: [] for name in counts}
    for one, for_train, for_validate, for_test, for_trusted in zip(
        dealt, n_train, n_validate, n_test, n_trusted, strict=True
    ):
        one.trusted = _take(one.pool, for_trusted)
        wanted = {"validate": for_validate, "test": for_test, "trusted": for_trusted}
        if train == "all":
            one.train += one.pool
            for_train = sum(map(len, one.train))
        else:
            _deal_rest(
                one.pool, [(one.train, for_train), *((getattr(one, name), count) for name, count in wanted.items())]
            )
        for name, count in {"train": for_train, **wanted}.items():
            chosen[name] += _spread(getattr(one, name), count, rng)
    return chosen


def split_shared(
    training: Sequence[Record], classes: Sequence[int], counts: dict[str, Counts], rng: np.random.Generator
) -> dict[str, list[Record]]:
    """Deal whole tracks that hold images of several classes, then choose from what each set was dealt.

    Each track, the longest first, goes to the set that has got the smallest share of its count. Every set that is
    chosen from is shared evenly over the classes, and exact.

    Args:
        training: records of no set yet.
        classes: class ids to take.
        counts: total number of images by set; with train "all", it takes what the other sets leave.
        rng: decides which tracks and images.

    Returns:
        The records of each set.

    Raises:
        InputError: a set was dealt too few images of a class.
    """
    others = sum(count for count in counts.values() if count != "all")
    wanted = {name: len(training) - others if count == "all" else count for name, count in counts.items() if count}
    hands: dict[str, Track] = {name: [] for name in counts}
    for track in sorted(_shuffled_tracks(training, classes, rng), key=len, reverse=True):
        hands[min(wanted, key=lambda name: len(hands[name]) / max(1, wanted[name]))].extend(track)
    return {
        name: choose_evenly(name, hands[name], classes, count, rng) if count else [] for name, count in counts.items()
    }


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


def _tracks(records: Sequence[Record]) -> list[Track]:
    """Return the tracks by number, then the images without one in their order, each on its own."""
    numbered: dict[int, Track] = defaultdict(list)
    for record in records:
        if record.track >= 0:
            numbered[record.track].append(record)
    return [numbered[number] for number in sorted(numbered)] + [[record] for record in records if record.track < 0]


def _shared_tracks(training: Sequence[Record]) -> bool:
    """Return whether a track holds images of several classes."""
    labels: dict[int, int] = {}
    tracked = (record for record in training if record.track >= 0)
    return any(labels.setdefault(record.track, record.label) != record.label for record in tracked)


def _shuffled_tracks(training: Sequence[Record], classes: Sequence[int], rng: np.random.Generator) -> list[Track]:
    in_order = _tracks([record for record in training if record.label in classes])
    return [in_order[index] for index in rng.permutation(len(in_order))]


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
