"""The conformance suite of :class:`exporter.contract.State`: its docstrings as tests.

Subclass it in a test module, say how to open your state, and pytest runs every law over it::

    class TestMyState(StateContract):
        def open_state(self, folder: Path) -> State:
            return MyState(path=folder / "state", horizon=self.horizon)
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.contract import Commit, Entry, Labels, Partition, Position, State, Unit
from exporter.errors import Fenced
from exporter.testing.state_forgetting import ForgettingLaws
from exporter.testing.state_scopes import ScopeLaws
from exporter.testing.state_suite import HERE, NOON, ODD, THERE, entries_of, in_quarantine, key, labels

__all__ = ["StateContract", "key", "labels"]


class StateContract(ForgettingLaws, ScopeLaws):
    """The laws every state keeps.

    A subclass gives :meth:`open_state`, and :attr:`waived` when there is a law it cannot keep.
    """

    # -- identities and counts -----------------------------------------------------------------------------------

    def test_a_new_state_is_empty(self, state: State) -> None:
        """Nothing is known before the first commit."""
        assert state.load(HERE) is None
        assert state.unfinished(HERE, [Unit("a", "1")]) == [Unit("a", "1")]
        assert state.unseen([key(1), key(2)]) == {key(1), key(2)}
        assert dict(state.totals()) == {}
        assert list(state.quarantined(10)) == []
        assert (state.size().identities, state.size().quarantined) == (0, 0)

    def test_a_key_that_was_committed_is_seen(self, state: State, step: Commit) -> None:
        """Unseen are exactly the keys no commit has remembered."""
        state.commit(replace(step, entries=entries_of(1, 3)))
        assert state.unseen([key(1), key(2), key(3), key(4)]) == {key(2), key(4)}

    def test_asking_remembers_nothing(self, state: State) -> None:
        """Unseen only reads: asked twice it says the same."""
        assert state.unseen([key(1)]) == {key(1)}
        assert state.unseen([key(1)]) == {key(1)}

    def test_no_keys_are_all_seen(self, state: State) -> None:
        """Asked for nothing, nothing is unseen."""
        assert state.unseen([]) == set()

    def test_a_key_asked_for_twice_is_found_once(self, state: State, step: Commit) -> None:
        """Repeats in the question do not disturb the answer."""
        state.commit(replace(step, entries=entries_of(1)))
        assert state.unseen([key(2), key(1), key(2), key(1)]) == {key(2)}

    @pytest.mark.parametrize("asked", [1, 15, 16, 17, 499, 500, 501, 1_000, 1_700])
    def test_any_number_of_keys_can_be_asked_for(self, state: State, step: Commit, asked: int) -> None:
        """However a state slices the question, the answer is exact."""
        state.commit(replace(step, entries=entries_of(*range(0, asked, 2))))
        assert state.unseen([key(number) for number in range(asked)]) == {key(number) for number in range(1, asked, 2)}

    @pytest.mark.parametrize(
        "odd",
        [b"\x00" * 16, b"\xff" * 16, b"\x00" * 15 + b"\x01", b"'; DROP TABLE x"],
        ids=["zeros", "ones", "one", "sql"],
    )
    def test_any_16_bytes_are_a_key(self, state: State, step: Commit, odd: bytes) -> None:
        """Keys are bytes: no value of them is special."""
        odd = odd.ljust(16, b"-")
        assert state.commit(replace(step, entries=(Entry(odd, labels()),))).new == 1
        assert state.unseen([odd, key(1)]) == {key(1)}

    def test_new_entries_are_counted_under_their_labels(self, state: State, step: Commit) -> None:
        """Totals say how many identities were counted under each label set."""
        committed = state.commit(replace(step, entries=entries_of(1, 2) + entries_of(3, of=labels("DeleteAlert"))))
        assert committed.new == 3
        assert dict(state.totals()) == {labels(): 2, labels("DeleteAlert"): 1}

    def test_every_label_tells_sets_apart(self, state: State, step: Commit) -> None:
        """Two label sets that differ in any one label are two totals."""
        base = labels()
        sets = [base, base._replace(correction=True)]
        sets += [Labels._make((*base[:place], "other", *base[place + 1 :])) for place in range(len(base) - 1)]
        state.commit(replace(step, entries=tuple(Entry(key(number), each) for number, each in enumerate(sets))))
        assert dict(state.totals()) == dict.fromkeys(sets, 1)

    def test_totals_grow_over_commits(self, state: State, step: Commit) -> None:
        """A later commit adds to the same total."""
        state.commit(replace(step, entries=entries_of(1)))
        state.commit(replace(step, entries=entries_of(2, 3)))
        assert dict(state.totals()) == {labels(): 3}

    def test_a_known_key_is_not_counted_again(self, state: State, step: Commit) -> None:
        """The commit decides what is new, whatever unseen has said before."""
        state.commit(replace(step, entries=entries_of(1, 2)))
        assert state.commit(replace(step, entries=entries_of(1, 2, 3))).new == 1
        assert dict(state.totals()) == {labels(): 3}

    def test_a_key_of_another_partition_is_known_too(self, state: State, step: Commit) -> None:
        """Two sources that carry the same event count it once."""
        state.commit(replace(step, entries=entries_of(1)))
        assert state.commit(replace(step, partition=THERE, entries=entries_of(1))).new == 0
        assert dict(state.totals()) == {labels(): 1}

    def test_a_key_twice_in_one_commit_counts_once(self, state: State, step: Commit) -> None:
        """The first of two entries with one key decides."""
        entries = (*entries_of(1, 1), Entry(key(1), labels("DeleteAlert")))
        assert state.commit(replace(step, entries=entries)).new == 1
        assert dict(state.totals()) == {labels(): 1}
        assert state.size().identities == 1

    def test_an_entry_without_labels_is_remembered_and_not_counted(self, state: State, step: Commit) -> None:
        """No labels: the identity is known from then on, no total grows."""
        assert state.commit(replace(step, entries=(Entry(key(1), None),))).new == 1
        assert state.unseen([key(1)]) == set()
        assert dict(state.totals()) == {}
        assert state.commit(replace(step, entries=entries_of(1))).new == 0
        assert dict(state.totals()) == {}

    @staticmethod
    def _count_out_of_order(state: State, step: Commit) -> None:
        for number, name in enumerate(["Zulu", "Yankee", "Alpha", "Yankee"]):
            state.commit(replace(step, entries=entries_of(number, of=labels(name))))

    def test_totals_keep_the_order_of_first_counting(self, state: State, step: Commit) -> None:
        """Not that of names, nor of the last count: which series are shown apart goes by it."""
        self._count_out_of_order(state, step)
        assert [of.event_name for of in state.totals()] == ["Zulu", "Yankee", "Alpha"]

    def test_totals_are_a_snapshot(self, state: State, step: Commit) -> None:
        """What was handed out does not change under its reader."""
        state.commit(replace(step, entries=entries_of(1)))
        before = state.totals()
        state.commit(replace(step, entries=entries_of(2)))
        assert dict(before) == {labels(): 1}

    def test_a_commit_of_max_entries_is_taken(self, state: State, step: Commit) -> None:
        """The advertised size works, and all of it is there."""
        numbers = range(state.max_entries)
        assert state.commit(replace(step, entries=entries_of(*numbers))).new == state.max_entries
        assert state.unseen([key(number) for number in numbers]) == set()
        assert dict(state.totals()) == {labels(): state.max_entries}

    def test_a_commit_over_max_entries_is_refused_whole(self, state: State, step: Commit) -> None:
        """One more than advertised is an error of the caller, and changes nothing."""
        entries = entries_of(*range(state.max_entries + 1))
        with pytest.raises(ValueError, match="are allowed"):
            state.commit(replace(step, entries=entries))
        assert state.size().identities == 0

    def test_size_counts_identities_and_quarantine(self, state: State, step: Commit) -> None:
        """The size is that of what is remembered, not of what was sent in."""
        state.commit(replace(step, entries=entries_of(1, 2), quarantined=(in_quarantine(7),)))
        state.commit(replace(step, entries=entries_of(2, 3), quarantined=(in_quarantine(7), in_quarantine(8))))
        assert (state.size().identities, state.size().quarantined) == (3, 2)

    # -- positions and units ---------------------------------------------------------------------------------------

    def test_the_position_is_the_last_committed(self, state: State, step: Commit) -> None:
        """Load gives what the newest commit of the partition carried."""
        state.commit(replace(step, position={"v": 1, "line": 1}))
        state.commit(replace(step, position={"v": 1, "line": 2}))
        assert state.load(HERE) == {"v": 1, "line": 2}

    def test_no_position_leaves_the_stored_one(self, state: State, step: Commit) -> None:
        """More of the unit follows: identities are committed, the position stays."""
        state.commit(replace(step, position={"v": 1}))
        state.commit(replace(step, entries=entries_of(1), finished=(Unit("a", "1"),)))
        assert state.load(HERE) == {"v": 1}

    def test_units_without_a_position_leave_none(self, state: State, step: Commit) -> None:
        """A partition that has only finished units was never given a position."""
        state.commit(replace(step, finished=(Unit("a", "1"),)))
        assert state.load(HERE) is None

    def test_positions_are_kept_by_source_and_key(self, state: State, step: Commit) -> None:
        """Partitions do not share a position, even when their names run into each other."""
        partitions = [HERE, THERE, Partition("a", "b/c"), Partition("a/b", "c"), Partition("b/c", "a")]
        for number, partition in enumerate(partitions):
            state.commit(replace(step, partition=partition, position={"v": number}))
        assert [state.load(partition) for partition in partitions] == [{"v": number} for number in range(5)]
        assert state.load(Partition("a", "never read")) is None

    @pytest.mark.parametrize(
        "position",
        [
            {"v": 1, "files": {"a": [1, 2, {"b": None}]}, "done": True, "share": 0.5},
            {"v": 1, "number": 2**70},
            {"v": 1, ODD: ODD},
            {},
        ],
        ids=["nested", "big", "odd text", "empty"],
    )
    def test_any_json_is_a_position(self, state: State, step: Commit, position: Position) -> None:
        """A position comes back as it was given."""
        state.commit(replace(step, position=position))
        assert state.load(HERE) == position

    def test_a_position_is_not_shared_with_its_giver(self, state: State, step: Commit) -> None:
        """What the source does to its mapping afterwards does not reach the state."""
        files = ["a"]
        state.commit(replace(step, position={"v": 1, "files": files}))
        files.append("b")
        assert state.load(HERE) == {"v": 1, "files": ["a"]}

    def test_finished_units_are_left_out_in_the_given_order(self, state: State, step: Commit) -> None:
        """Unfinished keeps the order of the question."""
        state.commit(replace(step, finished=(Unit("b", "1"), Unit("d", "1"))))
        asked = [Unit(name, "1") for name in "edcba"]
        assert list(state.unfinished(HERE, asked)) == [Unit("e", "1"), Unit("c", "1"), Unit("a", "1")]

    def test_finished_units_belong_to_their_partition(self, state: State, step: Commit) -> None:
        """The same file in another folder is another unit."""
        state.commit(replace(step, finished=(Unit("a", "1"),)))
        assert list(state.unfinished(THERE, [Unit("a", "1")])) == [Unit("a", "1")]

    def test_another_version_is_another_unit(self, state: State, step: Commit) -> None:
        """A file that was replaced is read again; name and version cannot run into each other."""
        state.commit(replace(step, finished=(Unit("a", "12"),)))
        others = [Unit("a", "13"), Unit("a1", "2"), Unit("", "a12"), Unit("a12", "")]
        assert list(state.unfinished(HERE, [*others, Unit("a", "12")])) == others

    def test_a_unit_can_be_finished_twice(self, state: State, step: Commit) -> None:
        """A repeated commit says the same again."""
        state.commit(replace(step, finished=(Unit("a", "1"), Unit("a", "1"))))
        state.commit(replace(step, finished=(Unit("a", "1"), Unit("b", "1"))))
        assert list(state.unfinished(HERE, [Unit("a", "1"), Unit("b", "1")])) == []

    def test_many_units_are_told_apart(self, state: State, step: Commit) -> None:
        """A folder of thousands of files is asked about in one question."""
        units = [Unit(f"2026/01/01/{number}.json.gz", "e") for number in range(3_000)]
        state.commit(replace(step, finished=tuple(units[::2])))
        assert list(state.unfinished(HERE, units)) == units[1::2]

    def test_names_may_be_any_string(self, state: State, step: Commit) -> None:
        """A file name that is not UTF-8 reaches the state as lone surrogates, and is a name like any other."""
        partition, unit = Partition(ODD, ODD), Unit(ODD, ODD)
        odd = replace(in_quarantine(1), partition=partition, detail=ODD, origin=ODD)
        counted = labels(ODD, error=ODD)
        step = replace(step, partition=partition, position={"v": 1}, finished=(unit,), quarantined=(odd,))
        state.commit(replace(step, entries=entries_of(1, of=counted)))
        assert state.load(partition) == {"v": 1}
        assert list(state.unfinished(partition, [unit])) == []
        assert [item for _, item in state.quarantined(1)] == [odd]
        assert dict(state.totals()) == {counted: 1}

    # -- quarantine ------------------------------------------------------------------------------------------------

    def test_quarantine_gives_back_what_was_put_in(self, state: State, step: Commit) -> None:
        """Bytes, origin, reason and time come back unchanged, oldest first."""
        items = (in_quarantine(2), replace(in_quarantine(1), counted=True, sample=b"", size=2**40))
        state.commit(replace(step, quarantined=items))
        assert [item for _, item in state.quarantined(10)] == list(items)

    def test_a_quarantine_key_is_kept_once_as_it_was_first(self, state: State, step: Commit) -> None:
        """A broken record that is redelivered does not fill the quarantine and does not change it."""
        state.commit(replace(step, quarantined=(in_quarantine(1), in_quarantine(1, reason="refused"))))
        state.commit(replace(step, quarantined=(in_quarantine(1, reason="encode"),)))
        assert [item.reason for _, item in state.quarantined(10)] == ["not_json"]

    def test_quarantine_is_read_page_by_page(self, state: State, step: Commit) -> None:
        """The number of the last item read leads to the next ones."""
        for number in range(5):
            state.commit(replace(step, quarantined=(in_quarantine(number),)))
        first = state.quarantined(2)
        second = state.quarantined(10, after=first[-1][0])
        assert [item for _, item in [*first, *second]] == [in_quarantine(number) for number in range(5)]
        numbers = [number for number, _ in [*first, *second]]
        assert numbers == sorted(set(numbers))
        assert min(numbers) > 0
        assert list(state.quarantined(10, after=numbers[-1])) == []

    def test_quarantine_counts_nothing(self, state: State, step: Commit) -> None:
        """What lies in quarantine is not an identity: that is what entries are for."""
        state.commit(replace(step, quarantined=(in_quarantine(1),)))
        assert state.unseen([key(1)]) == {key(1)}
        assert dict(state.totals()) == {}

    # -- all or nothing, one writer --------------------------------------------------------------------------------

    def test_a_stale_owner_is_fenced(self, state: State, step: Commit) -> None:
        """After a later claim nothing of an older owner's commit is taken, and nothing of it is there."""
        self.commit_everything(state, step)
        before = self.everything(state)
        newer = state.claim("another")
        assert newer > step.epoch
        with pytest.raises(Fenced):
            state.commit(self.another_commit(step))
        assert self.everything(state) == before
        assert state.commit(replace(self.another_commit(step), epoch=newer)).new == 1

    def test_a_commit_without_a_claim_is_fenced(self, state: State) -> None:
        """Nobody writes who has not claimed."""
        with pytest.raises(Fenced):
            state.commit(Commit(partition=HERE, epoch=0, at=NOON, entries=entries_of(1)))
        assert state.unseen([key(1)]) == {key(1)}

    def test_a_commit_that_fails_leaves_nothing(self, state: State, step: Commit) -> None:
        """An error in the middle, here a position that is no JSON, undoes all of it; then the same can be committed."""
        self.commit_everything(state, step)
        before = self.everything(state)
        broken: Position = {"v": object()}  # type: ignore[dict-item]
        with pytest.raises(TypeError):
            state.commit(replace(self.another_commit(step), position=broken))
        assert self.everything(state) == before
        assert state.commit(self.another_commit(step)).new == 1

    def test_concurrent_commits_count_each_key_once(self, state: State, step: Commit) -> None:
        """Four workers that carry the same events at the same time count each of them once."""
        start = threading.Barrier(4)

        def work(worker: int) -> int:
            start.wait()
            mine = replace(step, partition=Partition("worker", str(worker)))
            new = 0
            for part in range(20):
                numbers = range(part * 50 + worker * 10, part * 50 + worker * 10 + 50)
                new += state.commit(replace(mine, entries=entries_of(*numbers), position={"v": part})).new
            return new

        with ThreadPoolExecutor(4) as pool:
            new = sum(pool.map(work, range(4)))
        assert new == 20 * 50 + 30
        assert dict(state.totals()) == {labels(): new}
        assert state.unseen([key(number) for number in range(new)]) == set()
        assert [state.load(Partition("worker", str(worker))) for worker in range(4)] == [{"v": 19}] * 4

    def test_a_reopened_state_keeps_the_order_of_its_totals(self, state: State, step: Commit, tmp_path: Path) -> None:
        """A restart that chose other series to show apart would make a counter fall."""
        self._count_out_of_order(state, step)
        again = self.reopen(state, tmp_path)
        assert [of.event_name for of in again.totals()] == ["Zulu", "Yankee", "Alpha"]
        again.close()

    def test_everything_survives_a_new_process(self, state: State, step: Commit, tmp_path: Path) -> None:
        """Opening again finds all that was committed."""
        self.commit_everything(state, step)
        state.commit(self.another_commit(step))
        before = self.everything(state)
        again = self.reopen(state, tmp_path)
        assert self.everything(again) == before
        again.close()

    def test_epochs_grow_over_processes(self, state: State, tmp_path: Path) -> None:
        """A claim after a restart fences every claim before it."""
        old = state.claim("first")
        again = self.reopen(state, tmp_path)
        assert again.claim("second") > old
        with pytest.raises(Fenced):
            again.commit(Commit(partition=HERE, epoch=old, at=NOON, entries=entries_of(1)))
        again.close()

    def test_closing_twice_is_safe(self, state: State, step: Commit) -> None:
        """The second close does nothing."""
        self.commit_everything(state, step)
        state.close()
        state.close()
