"""The state of one call of `compress`: what it says about its steps."""

from __future__ import annotations

import pytest

from course_lib.compression import Options, Target, work


@pytest.mark.parametrize(("seconds", "said"), [(30, False), (90, True)])
def test_a_step_of_minutes_says_how_long_it_took(seconds, said, monkeypatch, capsys):
    now = iter((0.0, float(seconds)))
    monkeypatch.setattr(work.time, "perf_counter", lambda: next(now))
    one = work.Work(Options(), Target(), {}, {})
    with one.step("distill"):
        pass
    assert one.minutes == {"distill": seconds / 60}
    assert ("this step took 1.5 minutes" in capsys.readouterr().out) == said
