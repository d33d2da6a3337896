"""Set up and run, from a bare Python: `python3 bootstrap.py run` or `python3 bootstrap.py test`.

Standard library only, and old syntax, so that an interpreter that is too old can still say so.
"""

import ast
import hashlib
import os
import pty
import re
import subprocess
import sys
import termios

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
UV = os.path.join(VENV, "bin", "uv")
STAMP = os.path.join(VENV, "complete")
SUPPORTED = ((3, 11), (3, 12))
LOCK = os.path.join(ROOT, "requirements.lock")
UV_PIN = os.path.join(VENV, "uv.txt")
# What uv calls the settings of pip; whoever has set pip to an index gets the same one in uv.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
LAYERS = ["lint-imports", "--no-logo"]
DOCS = ["sphinx-build", "--fail-on-warning", "--fresh-env", "--quiet", "docs", os.path.join("build", "docs")]
TESTS = ["pytest", "-n", "logical", "--maxprocesses", "4"]
LISTED = re.compile(rb" (\x1b\[[0-9;]*m)*[-+~]")


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


def uv_settings(listed):
    """Translate what `pip config list` says into environment variables of uv.

    Later sections win, as in pip: [global], then [install], then the PIP_* variables.
    """
    found = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.rpartition(".")[0] == section and key.rpartition(".")[2] in UV_NAMES:
                name = UV_NAMES[key.rpartition(".")[2]]
                parts = ast.literal_eval(value).split()
                found[name] = ("," if name == "UV_FIND_LINKS" else " ").join(parts)
    # pip takes the best version of all its indexes; every file is held to its hash in any case.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def relay(source, target):
    """Copy what uv says from one descriptor to another, less its list of installed packages."""
    held = b""
    while True:
        try:
            data = os.read(source, 65536)
        except OSError:  # how Linux ends a pseudo-terminal
            data = b""
        lines = (held + data).splitlines(True)
        # A line of the list may arrive in pieces; all else, such as a bar in motion, is shown at once.
        held = lines.pop() if data and lines and lines[-1].startswith(b" ") and not lines[-1].endswith(b"\n") else b""
        os.write(target, b"".join(line for line in lines if not LISTED.match(line)))
        if not data:
            return


def call_uv(command, environment):
    """Run uv with its progress bar where there is a terminal, without its list of packages; return its status."""
    source, target = pty.openpty() if sys.stderr.isatty() else os.pipe()
    if sys.stderr.isatty():
        termios.tcsetwinsize(target, termios.tcgetwinsize(sys.stderr))
    process = subprocess.Popen(command, stderr=target, env=environment)
    os.close(target)
    relay(source, sys.stderr.fileno())
    os.close(source)
    return process.wait()


def pin_uv():
    """Take uv, with its hashes, out of the lock: pip installs nothing else."""
    with open(LOCK) as handle:
        found = re.search(r"^uv==(.*\\\n)*.*\n", handle.read(), re.MULTILINE)
    with open(UV_PIN, "w") as handle:
        handle.write(found.group())


def set_up():
    """Make `.venv` from the hashed lock, unless it is there and current; what a killed call left is made afresh."""
    if is_current():
        return
    sys.stderr.write("setting up .venv from requirements.lock (a minute or two, about 4 GB)\n")
    if os.path.exists(STAMP):
        os.remove(STAMP)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    check_step([sys.executable, "-m", "venv", "--clear", VENV], subprocess.call)
    pin_uv()
    check_step(pip + ["install", "--quiet", "--no-deps", "--require-hashes", "-r", UV_PIN], subprocess.call)
    environment = uv_settings(subprocess.check_output(pip + ["config", "list"]).decode("utf-8"))
    environment.update(os.environ)
    steps = (
        # The lock is complete, and it replaces opencv-python (which needs libGL) by its headless twin.
        ["sync", "--require-hashes", "--compile-bytecode", LOCK],
        ["install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT],
    )
    for step in steps:
        check_step([UV, "pip"] + step + ["--python", PYTHON], lambda command: call_uv(command, environment))
    with open(STAMP, "w") as handle:
        handle.write(fingerprint())


def check_step(command, call):
    """Call a step of the set-up, and stop if it fails."""
    if call(command) != 0:
        sys.exit("error: set-up stopped at `{}`; mend what it says above and call again".format(" ".join(command)))


def run():
    """Run the pipeline, pass the student through the promotion gate, and say where to look."""
    for command in (["dvc", "repro"], ["robust-distillation", "promote"]):
        status = subprocess.call(command)
        if status != 0:
            return status
    sys.stdout.write(
        "results: .venv/bin/robust-distillation results\n"
        "runs and models: .venv/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db\n"
    )
    return 0


def test():
    """Run the linters, build the documentation and then, whatever they say, run the tests."""
    commands = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], LAYERS, DOCS, TESTS)
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
