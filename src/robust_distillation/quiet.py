"""Silence about what no user can change."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """Keep what native libraries write to standard error to themselves, unless the block raises.

    TensorFlow, while it is imported and before its log level counts, reports that it registers CUDA's libraries twice,
    on machines that have none.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(2), "wb", buffering=0) as shown:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            shown.write(held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown.fileno(), 2)
