"""Where the repository lies, also for a queued experiment, which DVC runs in a temporary copy of it."""

from pathlib import Path

EXPERIMENTS = (".dvc", "tmp", "exps")


def main_root() -> Path:
    """The root of the real repository that the current folder belongs to.

    Returns:
        The folder above `.dvc/tmp/exps` inside DVC's temporary copy; elsewhere the nearest folder upwards that holds
        `.dvc` or `.git`; the current folder if none does.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder.parts[-len(EXPERIMENTS) :] == EXPERIMENTS:
            return folder.parents[len(EXPERIMENTS) - 1]
    for folder in (here, *here.parents):
        if (folder / ".dvc").exists() or (folder / ".git").exists():
            return folder
    return here
