"""Set up and run, from a bare Python: `python3 bootstrap.py run` or `python3 bootstrap.py test`.

Standard library only, and old syntax, so that an interpreter that is too old can still say so.
"""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "complete")
SUPPORTED = ((3, 11), (3, 12))


def succeeds(*command):
    """Tell whether a command exists, runs and exits with 0; its output is dropped."""
    with open(os.devnull, "w") as nowhere:
        try:
            return subprocess.call(command, stdout=nowhere, stderr=nowhere) == 0
        except OSError:
            return False


def use_supported_interpreter():
    """Go on in Python 3.11 or 3.12, or say in one line that there is none."""
    if sys.version_info[:2] in SUPPORTED:
        return
    for version in SUPPORTED:
        name = "python{}.{}".format(*version)
        # An interpreter manager may put a stub on PATH that only says that the version is not active.
        if succeeds(name, "-c", "import sys; sys.exit(sys.version_info[:2] != {})".format(version)):
            os.execvp(name, [name, os.path.abspath(__file__)] + sys.argv[1:])
    sys.exit(
        "error: Python 3.11 or 3.12 is needed (TensorFlow and numba have no other in common); this is {}.{} and PATH "
        "has no python3.11 or python3.12 that runs: install one and call it with bootstrap.py".format(
            *sys.version_info[:2]
        )
    )


def require_tools():
    """Say in one line what the machine lacks."""
    if not succeeds(sys.executable, "-c", "import ensurepip, venv"):
        sys.exit(
            "error: {} lacks venv or ensurepip; install them (Debian, Ubuntu: apt-get install python{}.{}-venv)".format(
                sys.executable, *sys.version_info[:2]
            )
        )
    if not succeeds("git", "--version"):
        sys.exit("error: git is not on PATH; DVC and MLflow name every result by its commit: install git")
    if not os.path.exists(os.path.join(ROOT, ".git")):
        sys.exit("error: {} is not a git repository; clone the project instead of unpacking an archive".format(ROOT))


def fingerprint():
    """Name what the environment is made from: the lock, the package's settings, the interpreter and the place."""
    digest = hashlib.sha256("{} {}".format(sys.version_info[:2], ROOT).encode("utf-8"))
    for name in ("requirements.lock", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as handle:
            digest.update(handle.read())
    return digest.hexdigest()


def is_current():
    """Tell whether the environment was set up to its end, from what lies here now, and still runs."""
    if not os.path.exists(STAMP):
        return False
    with open(STAMP) as handle:
        return handle.read() == fingerprint() and succeeds(PYTHON, "-c", "")


def set_up():
    """Make `.venv` from the hashed lock, unless it is there and current; what a killed call left is made afresh."""
    if is_current():
        return
    sys.stderr.write("setting up .venv from requirements.lock (some minutes, about 4 GB)\n")
    if os.path.exists(STAMP):
        os.remove(STAMP)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    steps = (
        [sys.executable, "-m", "venv", "--clear", VENV],
        # --no-deps: the lock is complete, and it replaces opencv-python (which needs libGL) by its headless twin.
        pip + ["--require-hashes", "-r", os.path.join(ROOT, "requirements.lock")],
        pip + ["--no-build-isolation", "--quiet", "--editable", ROOT],
    )
    for step in steps:
        if subprocess.call(step) != 0:
            sys.exit("error: set-up stopped at `{}`; mend what it says above and call again".format(" ".join(step)))
    with open(STAMP, "w") as handle:
        handle.write(fingerprint())


def run():
    """Run the pipeline, pass the student through the promotion gate, and say where to look."""
    for command in (["dvc", "repro"], ["robust-distillation", "promote"]):
        status = subprocess.call(command)
        if status != 0:
            return status
    sys.stdout.write(
        "metrics: reports/metrics   figures: reports/figures   data checks: reports/data_docs/index.html\n"
        "runs and models: .venv/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db\n"
    )
    return 0


def test():
    """Run the linters and then, whatever they say, the tests."""
    commands = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["pytest"])
    statuses = [subprocess.call(command) for command in commands]
    return next((status for status in reversed(statuses) if status != 0), 0)


JOBS = {"run": run, "test": test}


def main():
    """Set up, then do the one job that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1] not in JOBS:
        sys.exit("usage: python3 bootstrap.py run | test")
    use_supported_interpreter()
    require_tools()
    os.chdir(ROOT)
    set_up()
    # The stages call `robust-distillation` by name.
    os.environ["PATH"] = os.path.dirname(PYTHON) + os.pathsep + os.environ["PATH"]
    sys.exit(JOBS[sys.argv[1]]())


if __name__ == "__main__":
    main()
