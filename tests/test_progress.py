import io
import re

import pytest

from robust_distillation import progress
from robust_distillation.progress import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def percentages(text):
    return [int(share) for share in re.findall(r"(\d+)%", text)]


def test_a_log_gets_one_whole_line_for_each_tenth():
    log = io.StringIO()
    for _ in Bar(range(1000), desc="attacking", unit="image", file=log, mininterval=0):
        pass
    assert "\r" not in log.getvalue()
    assert percentages(log.getvalue()) == list(range(10, 101, 10))
    assert log.getvalue().splitlines()[-1].startswith("attacking: 100%")


def test_a_postfix_adds_no_line():
    log = io.StringIO()
    with Bar(total=100, file=log, mininterval=0) as bar:
        for _ in range(100):
            bar.update()
            bar.set_postfix_str("robust accuracy 0.5")
    assert len(log.getvalue().splitlines()) == 10


def test_a_bar_that_ends_early_says_how_far_it_came():
    log = io.StringIO()
    with Bar(total=100, file=log, mininterval=1000) as bar:
        bar.update(37)
    assert percentages(log.getvalue()) == [37]


def test_what_is_done_before_the_delay_shows_nothing():
    for out in (io.StringIO(), Terminal()):
        for _ in Bar(range(100), file=out, mininterval=0, delay=1000):
            pass
        assert not out.getvalue().strip()


def test_without_a_total_lines_come_by_time(monkeypatch):
    monkeypatch.setattr(progress, "SILENCE", 1e-9)
    log = io.StringIO()
    for _ in Bar(iter(range(3)), file=log, mininterval=0):
        pass
    assert re.search(r"^3it ", log.getvalue(), re.M)


@pytest.mark.parametrize("leave", [True, False])
def test_a_terminal_gets_a_live_bar(leave):
    terminal = Terminal()
    for _ in Bar(range(5), file=terminal, mininterval=0, leave=leave):
        pass
    assert "\r" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
