"""From raw archives, or pickles, to train, validate, test and trusted sets.

Usage:
    splits = rd.DatasetGenerator(n_classes=5, n_train_samples=800).generate(Path("data/raw"))
    splits.save(Path("data/dataset"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
import numpy.typing as npt
from joblib import Parallel, cpu_count, delayed
from PIL import Image

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.pixels import Colour, as_features
from robust_distillation.dataset.readers import archives
from robust_distillation.dataset.readers.pickled import TRAIN
from robust_distillation.dataset.readers.reader import Reader, Record
from robust_distillation.dataset.readers.tables import NAMES, TABLE
from robust_distillation.dataset.signs import resolve_classes
from robust_distillation.dataset.sources import SOURCES
from robust_distillation.dataset.splitting import (
    Counts,
    choose_evenly,
    drop_duplicates,
    split_training,
)
from robust_distillation.errors import InputError
from robust_distillation.files import replacing, write_json
from robust_distillation.progress import Bar

SETS = ("train", "validate", "test", "trusted")
# A shard opens the archives anew, which costs as much as a thousand images; a process of its own costs some more.
MIN_SHARD = 2000
SHARDS_PER_WORKER = 4
LAYOUTS = {"archives": "gtsrb", "pickles": "udacity", "arrays": "npz", "images": "folder"}  # a source of each


@dataclass(frozen=True)
class Splits:
    """The four sets, and what a person wants to know of them.

    Attributes:
        train: may be poisoned later on.
        validate: tunes the defender.
        test: from the official test archive, or test.p.
        trusted: clean images of the defender's own.
        classes: class id of each label.
        names: what people call each class.
        mirror: the label that an image of each label has in a mirror; -1 where it shows none of these classes.
        info: how the sets were made, for people.
    """

    train: ImageSet
    validate: ImageSet
    test: ImageSet
    trusted: ImageSet
    classes: list[int]
    names: list[str]
    mirror: list[int]
    info: str

    def save(self, folder: str | Path) -> None:
        """Write train.p, validate.p, test.p, trusted.p, classes.json and info.txt."""
        folder = Path(folder)
        for name in SETS:
            getattr(self, name).save(folder / f"{name}.p")
        write_json(folder / "classes.json", {"ids": self.classes, "names": self.names, "mirror": self.mirror})
        with replacing(folder / "info.txt") as temporary:
            temporary.write_text(self.info)


@dataclass(frozen=True, kw_only=True)
class DatasetGenerator:
    """Makes the sets from raw files, as the stage `fetch` leaves them.

    The same settings give the same bytes, whatever the number of workers.

    Attributes:
        n_classes: the first n class ids, a list of ids, or "all".
        n_train_samples: total over the classes, split evenly, or "all" that the other sets leave.
        n_validate_samples: total over the classes, split evenly.
        n_test_samples: total over the classes, split evenly, or "all".
        n_trusted_samples: total over the classes, split as evenly as what train and validate leave permits.
        image_size: side of the square images in pixels.
        colour: "rgb" (3 channels) or "grey" (1 channel).
        crop_to_roi: whether to cut the sign's box out first.
        seed: decides tracks, frames and order.
        n_workers: processes that read images; -1 for one per core.

    Example:
        From three pickles of one's own:

        >>> import pickle
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> generator = rd.DatasetGenerator(
        ...     n_classes=2, n_train_samples=4, n_validate_samples=2, n_test_samples=2, n_trusted_samples=2, n_workers=1
        ... )
        >>> features = np.random.default_rng(0).integers(256, size=(30, 8, 8, 3), dtype=np.uint8)
        >>> with TemporaryDirectory() as folder:
        ...     for name, some in {"train": features[:10], "valid": features[10:20], "test": features[20:]}.items():
        ...         content = pickle.dumps({"features": some, "labels": np.arange(10) % 2})
        ...         _ = Path(folder, f"{name}.p").write_bytes(content)
        ...     splits = generator.generate(Path(folder))
        >>> splits.train.features.shape, np.bincount(splits.train.labels)
        ((4, 28, 28, 3), array([2, 2]))
    """

    n_classes: int | Sequence[int] | Literal["all"] = 5
    n_train_samples: Counts = 800
    n_validate_samples: int = 100
    n_test_samples: Counts = 100
    n_trusted_samples: int = 200
    image_size: int = 28
    colour: Colour = "rgb"
    crop_to_roi: bool = True
    seed: int = 0
    n_workers: int = -1

    def __post_init__(self) -> None:
        if self.colour not in ("rgb", "grey"):
            raise InputError(f"colour must be rgb or grey. Received: {self.colour!r}")
        for name, least in (("train", 1), ("validate", 1), ("test", 1), ("trusted", 0)):
            count = getattr(self, f"n_{name}_samples")
            if count == "all" and name in ("train", "test"):
                continue
            if not isinstance(count, int) or count < least:
                raise InputError(f"n_{name}_samples must be a whole number, at least {least}. Received: {count!r}")

        if not isinstance(self.n_workers, int) or (self.n_workers < 1 and self.n_workers != -1):
            raise InputError(f"n_workers must be at least 1, or -1 for one per core. Received: {self.n_workers!r}")

    def generate(self, raw_folder: str | Path, *, source: str | None = None) -> Splits:
        """Read the raw files and make the sets.

        Args:
            raw_folder: holds the three archives in the official layout; or train.p, and perhaps valid.p (or validate.p)
                and test.p; or images beside a table of them, as the stage `fetch` makes it.
            source: a name of `SOURCES`; None tells them by the names of their files.

        Returns:
            The sets; labels count from 0 in the order of the class ids, rows are shuffled.

        Raises:
            InputError: a file is missing, corrupt or unsafe, a class does not exist or has too few images, a track is
                in two sets of the source, or grey and coloured images are mixed.
        """
        raw_folder = Path(raw_folder)
        rng = np.random.default_rng(self.seed)
        layout = _layout(raw_folder)
        origin = SOURCES[source or LAYOUTS[layout]]
        reader = origin.reader
        if origin.warning:
            click.echo(origin.warning, err=True)
        listed, validation, test = (
            list_records(raw_folder)
            for list_records in (reader.list_training, reader.list_validation, reader.list_test)
        )
        _refuse_strangers(listed, [*validation, *test])
        _refuse_shared_tracks({"training": listed, "validation": validation, "test": test})
        if not test and self.n_test_samples == "all":
            raise InputError(f"{raw_folder}: has no test set of its own; set test_samples to a number")
        classes = resolve_classes(self.n_classes, sorted({record.label for record in listed}))
        known = origin.names(raw_folder)
        named = {class_id: known.get(class_id, f"Class {class_id}") for class_id in classes}
        training, duplicates = drop_duplicates(
            [record for record in [*validation, *listed] if record.label in classes], test, reader.read_files
        )
        own = {record.id for record in validation}
        chosen = split_training(
            [record for record in training if record.id not in own],
            classes,
            train=self.n_train_samples,
            validate=0 if validation else self.n_validate_samples,
            test=self.n_test_samples if self.n_test_samples != "all" and not test else 0,
            trusted=self.n_trusted_samples,
            rng=rng,
        )
        if validation:
            others = [record for record in training if record.id in own]
            chosen["validate"] = choose_evenly("validate", others, classes, self.n_validate_samples, rng)
        if test:
            chosen["test"] = choose_evenly("test", test, classes, self.n_test_samples, rng)
        shuffled = {name: [chosen[name][index] for index in rng.permutation(len(chosen[name]))] for name in SETS}
        features = np.split(
            self.read([record for name in SETS for record in shuffled[name]], reader),
            np.cumsum([len(shuffled[name]) for name in SETS])[:-1],
        )
        sets = {name: _image_set(shuffled[name], part, classes) for name, part in zip(SETS, features, strict=True)}
        return Splits(
            **sets,
            classes=classes,
            names=list(named.values()),
            mirror=_mirror(classes, origin.mirrored()),
            info=f"source: {source or layout} in {raw_folder}\n"
            + self._describe(training, test, duplicates, shuffled, named, origin.warning),
        )

    def read(self, records: Sequence[Record], reader: Reader = archives) -> npt.NDArray[np.uint8]:
        """The images of records, cropped, resized and coloured as this generator is set.

        Returns:
            uint8, (N, image_size, image_size, C).

        Raises:
            InputError: an image is missing or corrupt, or only some are grey where colour is wanted.
        """
        channels = 1 if self.colour == "grey" else 3
        features = np.empty((len(records), self.image_size, self.image_size, channels), dtype=np.uint8)
        workers = cpu_count() if self.n_workers == -1 else self.n_workers
        length = max(MIN_SHARD, -(-len(records) // (SHARDS_PER_WORKER * workers)))
        shards = [slice(start, start + length) for start in range(0, len(records), length)]
        parts = Parallel(n_jobs=min(workers, len(shards)), return_as="generator")(
            delayed(_read_shard)(records[shard], reader, self.image_size, self.colour, self.crop_to_roi)
            for shard in shards
        )
        with Bar(total=len(records), desc="images", unit="image") as bar:
            modes: dict[str, Record] = {}
            for shard, (part, found) in zip(shards, parts, strict=True):
                features[shard] = part
                modes = found | modes
                bar.update(len(part))
        if self.colour == "rgb" and len(modes) > 1:
            grey, coloured = modes["L"], modes["RGB"]
            raise InputError(
                f"{grey.archive}: {grey.member} is grey, but {coloured.archive}: {coloured.member} is in colour, which "
                "may give a class away; convert them, or set colour to grey"
            )
        return features

    def _describe(
        self,
        training: Sequence[Record],
        test: Sequence[Record],
        duplicates: Sequence[tuple[str, str]],
        chosen: dict[str, list[Record]],
        classes: dict[int, str],
        warning: str | None,
    ) -> str:
        tracked = any(record.track >= 0 for record in training)
        held = {record.track for name in SETS[1:] for record in chosen[name] if record.track >= 0}
        used = {record.id for records in chosen.values() for record in records}
        unused = [record for record in training if record.id not in used]
        crossing = [record for record in unused if tracked and record.track in held]
        crossed = [f"{len(crossing)} further frames of tracks of other sets, for no track may be in two sets"]
        n_test = sum(record.label in classes for record in test)
        sides = [side for records in chosen.values() for record in records for side in record.size]
        lines = [
            f"seed: {self.seed}",
            f"images: {self.image_size}x{self.image_size} {self.colour}, "
            f"{'cropped to the box of the sign' if self.crop_to_roi else 'not cropped'}; "
            f"raw sides {min(sides)} to {max(sides)} pixels",
            "samples: " + ", ".join(f"{name} {len(chosen[name])}" for name in SETS),
            *([warning] if warning else []),
            "",
            f"images {'(tracks) ' if tracked else ''}per class",
            f"{'label':>5} {'id':>3} {'train':>13} {'validate':>12} {'test':>6} {'trusted':>12}  name",
        ]
        for label, (class_id, name) in enumerate(classes.items()):
            cells = {part: [record for record in chosen[part] if record.label == class_id] for part in SETS}
            counts = {
                part: f"{len(records)} ({len({record.track for record in records})})" if tracked else f"{len(records)}"
                for part, records in cells.items()
            }
            lines.append(
                f"{label:>5} {class_id:>3} {counts['train']:>13} {counts['validate']:>12} {len(cells['test']):>6} "
                f"{counts['trusted']:>12}  {name}"
            )
        lines += [
            "",
            "left out",
            f"{len(duplicates)} training images whose file equals a test image or "
            f"{'a frame of another track' if tracked else 'another image'}",
            *(f"    {dropped} equals {twin}" for dropped, twin in duplicates),
            *(crossed if tracked else []),
            f"{len(unused) - len(crossing)} further training images, not drawn",
            *([f"{n_test - len(chosen['test'])} test images, not drawn"] if test else []),
        ]
        shares = [sum(record.label == label for record in chosen["trusted"]) for label in classes]
        if max(shares) - min(shares) > 1 or sum(shares) < self.n_trusted_samples:
            lines += [
                "",
                f"trusted is uneven or short of the {self.n_trusted_samples} asked: too few "
                f"{'tracks' if tracked else 'images'} are left",
            ]
        return "\n".join(lines) + "\n"


def _layout(raw_folder: Path) -> str:
    """Return which of LAYOUTS the files in a folder have."""
    if (raw_folder / TRAIN).is_file():
        return "arrays" if (raw_folder / NAMES).is_file() else "pickles"
    return "images" if (raw_folder / TABLE).is_file() else "archives"


def _refuse_strangers(training: Sequence[Record], others: Sequence[Record]) -> None:
    """Refuse images whose class no training image has."""
    known = {record.label for record in training}
    if stranger := next((record for record in others if record.label not in known), None):
        raise InputError(
            f"{stranger.archive}: {stranger.member}: label {stranger.label} is that of no training image; "
            "correct it, or add training images of that class"
        )


def _refuse_shared_tracks(sets: Mapping[str, Sequence[Record]]) -> None:
    """Refuse a track in two sets that a source has made."""
    first: dict[int, tuple[str, Record]] = {}
    for name, records in sets.items():
        for record in (one for one in records if one.track >= 0):
            other, twin = first.setdefault(record.track, (name, record))
            if other != name:
                raise InputError(
                    f"{record.archive}: {record.member}: is of one track (or group) with the {other} image "
                    f"{twin.member}; move one"
                )


def _mirror(classes: Sequence[int], mirrored: Mapping[int, int]) -> list[int]:
    """Return the label in a mirror of each label; -1 where there is none."""
    labels = {class_id: label for label, class_id in enumerate(classes)}
    return [labels.get(mirrored.get(class_id, -1), -1) for class_id in classes]


def _read_shard(
    records: Sequence[Record], reader: Reader, size: int, colour: Colour, crop: bool
) -> tuple[npt.NDArray[np.uint8], dict[str, Record]]:
    """Return the pixels of records, and one record of each mode of their images."""
    images: list[npt.NDArray[np.uint8]] = []
    modes: dict[str, Record] = {}
    for file, record in zip(reader.read_files(records), records, strict=True):
        image = reader.decode(file, record)
        modes.setdefault(image.mode, record)
        image = _crop(image, record) if crop else image
        images.append(as_features(image, size, colour))
    return np.stack(images), modes


def _crop(image: Image.Image, record: Record) -> Image.Image:
    """Cut out the sign's box, given in pixels of the original; in a smaller image, outward to whole pixels."""
    (x1, y1, x2, y2), (width, height) = record.coords, record.size
    left, top = x1 * image.width // width, y1 * image.height // height
    right, bottom = -(-x2 * image.width // width), -(-y2 * image.height // height)
    return image.crop((left, top, right, bottom))


def _image_set(records: Sequence[Record], features: npt.NDArray[np.uint8], classes: Sequence[int]) -> ImageSet:
    return ImageSet(
        features=features,
        labels=np.searchsorted(classes, [record.label for record in records]),
        ids=np.array([record.id for record in records], dtype=np.str_),
        tracks=np.array([record.track for record in records], dtype=np.int64),
        sizes=np.array([record.size for record in records], dtype=np.int64).reshape(-1, 2),
        coords=np.array([record.coords for record in records], dtype=np.int64).reshape(-1, 4),
    )
