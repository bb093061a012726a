"""The law of :class:`exporter.contract.Source` as tests. Subclass it, provide two fixtures, and pytest runs the rest.

::

    class TestMySource(SourceContract):
        @pytest.fixture
        def open_source(self, remote): ...  # -> callable: a new source over the same data, as after a restart

        @pytest.fixture
        def expected(self, remote): ...     # -> the ``log.record.uid`` of every record that lies there

The data should hold records for more than one batch; :attr:`SourceContract.malformed` says how many broken things lie
among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import pytest

from exporter.contract import Batch, Finding, Partition, Position, Source, Unit
from exporter.record import FILTER_REASONS, QUARANTINE_REASONS, Document, Malformed, Record, parse

__all__ = ["MemoryProgress", "SourceContract", "uids_of"]


class MemoryProgress:
    """A :class:`~exporter.contract.Progress` that remembers in memory what is committed to it."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._finished: set[Unit] = set()

    @property
    def position(self) -> Position | None:
        """The position last committed."""
        return self._position

    def unfinished(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Those of the units that no committed batch has finished."""
        return [unit for unit in units if unit not in self._finished]

    def commit(self, batch: Batch) -> None:
        """Take over what the batch says of the source's progress, as the pipeline's commit does."""
        if batch.after is not None:
            self._position = batch.after
        self._finished = {unit for unit in self._finished if not unit.scope or unit.scope not in batch.forget}
        self._finished.update(batch.finished)


def uids_of(batches: Collection[Batch]) -> list[str]:
    """The identity of every record in the batches, in order; broken ones left out."""
    records = [parse(item, observed_ns=0) for batch in batches for item in batch.items if isinstance(item, Document)]
    return [record.identity.uid for record in records if isinstance(record, Record)]


class SourceContract:
    """The laws every source keeps."""

    #: How many broken things lie among the records, whichever way they are found to be broken.
    malformed: int = 0
    #: The most items, and bytes of text in them, that one batch may hold.
    most_items: int = 1_000
    most_bytes: int = 6 * 1024 * 1024
    #: Whether what was committed may be yielded again, as a source with a look-back does.
    repeats: bool = False

    @pytest.fixture
    def source(self, open_source: Callable[[], Source]) -> Iterator[Source]:
        """A source, closed afterwards."""
        source = open_source()
        yield source
        source.close()

    @staticmethod
    def _known(source: Source) -> dict[Partition, MemoryProgress]:
        return {partition: MemoryProgress() for partition in source.partitions()}

    @staticmethod
    def _read(source: Source, known: dict[Partition, MemoryProgress], *, stop_after: int | None = None) -> list[Batch]:
        """Read as the loop does: each batch is committed and settled before the next is asked for."""
        batches: list[Batch] = []
        for partition, progress in known.items():
            for batch in source.read(partition, progress):
                progress.commit(batch)
                source.settle(batch)
                batches.append(batch)
                if len(batches) == stop_after:
                    return batches
        return batches

    def test_partitions_are_its_own_and_stable(self, open_source: Callable[[], Source]) -> None:
        """Two sources of one configuration name the same partitions, under the source's name."""
        first, second = open_source(), open_source()
        assert list(first.partitions()) == list(second.partitions())
        assert {partition.source for partition in first.partitions()} == {first.name}
        first.close()
        second.close()

    def test_everything_is_read(self, source: Source, expected: Collection[str]) -> None:
        """Each record that lies there is yielded, with the identity it has in every other source too."""
        assert set(uids_of(self._read(source, self._known(source)))) == set(expected)

    def test_what_is_broken_costs_no_neighbour(self, source: Source, expected: Collection[str]) -> None:
        """Broken things are yielded with a known reason, as many as there are, and every good record with them."""
        batches = self._read(source, self._known(source))
        broken = [
            parsed
            for batch in batches
            for item in batch.items
            if isinstance(parsed := parse(item, observed_ns=0) if isinstance(item, Document) else item, Malformed)
        ]
        assert len(broken) == self.malformed
        assert {one.reason for one in broken} <= QUARANTINE_REASONS.keys()
        assert set(uids_of(batches)) == set(expected)

    def test_batches_are_bounded(self, source: Source) -> None:
        """No batch holds more than it may, in records or in bytes."""
        for batch in self._read(source, self._known(source)):
            assert len(batch.items) <= self.most_items
            sizes = [len(item.data) if isinstance(item, Document) else len(item.sample) for item in batch.items]
            assert sum(sizes) <= self.most_bytes

    def test_batches_belong_to_the_partition(self, source: Source) -> None:
        """A batch names the partition it was asked for, and only reasons that are known."""
        for partition, progress in self._known(source).items():
            for batch in source.read(partition, progress):
                assert batch.partition == partition
                assert batch.passed_over.keys() <= FILTER_REASONS.keys()
                progress.commit(batch)

    def test_a_restart_after_any_batch_loses_nothing(
        self, open_source: Callable[[], Source], expected: Collection[str]
    ) -> None:
        """Stopped after any committed batch and opened anew, the rest comes."""
        source = open_source()
        count = len(self._read(source, self._known(source)))
        source.close()
        assert count > 1, "give it data for more than one batch"
        for stop in sorted({*range(1, min(count, 6)), count - 1}):
            source = open_source()
            known = self._known(source)
            before = self._read(source, known, stop_after=stop)
            source.close()
            source = open_source()
            after = self._read(source, known)
            source.close()
            assert set(uids_of(before)) | set(uids_of(after)) == set(expected)

    def test_what_was_not_committed_comes_again(
        self, open_source: Callable[[], Source], expected: Collection[str]
    ) -> None:
        """A batch that is abandoned, or dropped without a word, is read again: by this source and by a new one."""
        source = open_source()
        known = self._known(source)
        for partition, progress in known.items():
            for batch in source.read(partition, progress):
                source.abandon(batch)
                break
            next(iter(source.read(partition, progress)), None)
        assert set(uids_of(self._read(source, known))) == set(expected)
        source.close()

    def test_reading_changes_nothing_before_settle(
        self, open_source: Callable[[], Source], expected: Collection[str]
    ) -> None:
        """Everything read, nothing settled: another reader that knows nothing finds everything."""
        source = open_source()
        for partition, progress in self._known(source).items():
            for _ in source.read(partition, progress):
                pass
        source.close()
        other = open_source()
        assert set(uids_of(self._read(other, self._known(other)))) == set(expected)
        other.close()

    def test_nothing_new_after_everything_was_committed(self, source: Source, expected: Collection[str]) -> None:
        """Read to the end and asked again, it has nothing that was not there before."""
        known = self._known(source)
        self._read(source, known)
        again = self._read(source, known)
        assert set(uids_of(again)) <= set(expected)
        if not self.repeats:
            assert sum(len(batch.items) for batch in again) == 0

    def test_settle_abandon_and_close_are_safe_twice(self, source: Source) -> None:
        """Repeating any of them is harmless."""
        for partition, progress in self._known(source).items():
            batch = next(iter(source.read(partition, progress)), None)
            if batch is not None:
                for _ in range(2):
                    source.settle(batch)
                source.abandon(batch)
                source.abandon(batch)
        source.close()
        source.close()

    def test_close_before_any_read(self, open_source: Callable[[], Source]) -> None:
        """A source that was never used can be closed."""
        source = open_source()
        source.close()
        source.close()

    def test_check_finds_and_does_not_raise(self, source: Source) -> None:
        """Findings come as values, each with a subject and a text, and nothing in order is an error."""
        findings = list(source.check())
        assert findings
        assert all(isinstance(finding, Finding) and finding.subject and finding.text for finding in findings)
        assert not [finding for finding in findings if finding.level == "error"]
