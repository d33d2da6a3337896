"""Progress bars: live on a terminal, a line every tenth in a log or a pipe."""

import sys
from typing import Any

from tqdm import tqdm

SILENCE = 10  # seconds between two lines where nobody knows how much there is


class Bar(tqdm):  # type: ignore[type-arg]  # tqdm is generic in its stubs alone
    """tqdm's bar, which on anything but a terminal prints whole lines, one for each tenth that is done.

    All arguments are tqdm's. Give `delay` (seconds) to what is mostly quick: such a bar shows only where it is not.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._live = (settings.get("file") or sys.stderr).isatty()
        self._told = 0
        super().__init__(*args, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or print a line if another tenth is done."""
        if self._live:
            super().display(msg, pos)
            return
        reached = int(10 * self.n / self.total) if self.total else int(self.format_dict["elapsed"] / SILENCE)
        if reached > self._told:
            self._told = reached
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._live or self.disable:
            super().close()
            return
        if self.format_dict["elapsed"] >= self.delay:
            self.display()
        self.disable = True
        self._decr_instances(self)  # type: ignore[attr-defined]  # which close() calls, and the stubs leave out
