"""The profile: the environment decides, then the lesson's parameter."""

import pytest

from course_lib.lessons.profile import chosen_profile


def test_the_parameter_counts_where_the_environment_is_silent(monkeypatch):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    assert chosen_profile() == "full"
    assert chosen_profile("quick") == "quick"
    monkeypatch.setenv("COURSE_PROFILE", "")
    assert chosen_profile("quick") == "quick"


def test_the_environment_wins(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    assert chosen_profile("full") == "quick"


def test_an_unknown_profile_names_itself_its_origin_and_the_choices(monkeypatch):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    with pytest.raises(ValueError, match=r"'fast' came from the parameters cell.*full.*quick"):
        chosen_profile("fast")
    monkeypatch.setenv("COURSE_PROFILE", "slow")
    with pytest.raises(ValueError, match=r"'slow' came from COURSE_PROFILE.*full.*quick"):
        chosen_profile("full")
