"""The conformance suite over each state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from exporter.contract import State
from exporter.state.memory import MemoryState
from exporter.state.sqlite import SqliteState
from exporter.testing.state import StateContract


class TestMemoryState(StateContract):
    waived: ClassVar[Mapping[str, str]] = {
        "test_everything_survives_a_new_process": "memory ends with the process",
        "test_a_reopened_state_keeps_the_order_of_its_totals": "memory ends with the process",
        "test_epochs_grow_over_processes": "memory ends with the process",
        "test_scopes_survive_a_new_process": "memory ends with the process",
        "test_when_a_key_was_remembered_survives_a_new_process": "memory ends with the process",
    }

    def open_state(self, folder: Path) -> State:
        return MemoryState(horizon=self.horizon)


class TestSqliteState(StateContract):
    def open_state(self, folder: Path) -> State:
        return SqliteState(path=folder / "made" / "state.db", horizon=self.horizon)
