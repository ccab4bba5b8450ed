"""The switches of libraries hold for a while, and never against the user's own."""

import os

import pytest

from medembed.extras import switches


def test_switches_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with switches(RAY_USAGE_STATS_ENABLED="0"):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with switches(RAY_USAGE_STATS_ENABLED="0"):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
