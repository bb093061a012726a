"""The law of :class:`exporter.contract.Sink` as tests. Subclass it, provide two fixtures, and pytest runs the rest.

::

    class TestMySink(SinkContract):
        @pytest.fixture
        def sink(self, receiver): ...      # the sink under test, closed afterwards

        @pytest.fixture
        def accepted(self, receiver): ...  # -> callable: the ``log.record.uid`` of what was received, in order

A third one, ``fault``, is a context manager within which the receiver is out of order; without it that test is skipped.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from exporter.contract import Sink
from exporter.errors import ExporterError
from exporter.record import Document, Record, parse

__all__ = ["SinkContract", "a_record"]

_OBSERVED = 1_772_000_000_000_000_000


def a_record(number: int = 0, **fields: Any) -> Record:
    """A plausible record with its own eventID; ``fields`` replace CloudTrail fields of it."""
    document = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "userName": "fred", "accountId": "123456789012"},
        "eventTime": "2026-02-01T08:00:00Z",
        "eventSource": "lookoutmetrics.amazonaws.com",
        "eventName": "ListAnomalyDetectors",
        "awsRegion": "us-east-2",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "aws-cli/2.15",
        "eventID": f"00000000-0000-4000-8000-{number:012d}",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "recipientAccountId": "123456789012",
        **fields,
    }
    record = parse(Document(json.dumps(document).encode(), f"test#{number}"), observed_ns=_OBSERVED)
    assert isinstance(record, Record)
    return record


def _nested(levels: int) -> object:
    value: object = "bottom"
    for _ in range(levels):
        value = {"below": value}
    return value


_ODD: dict[str, dict[str, Any]] = {
    "lone_surrogate": {"userAgent": "before \ud800 after", "requestParameters": {"\udfff": "\ud83d"}},
    "integer_over_64_bit": {"requestParameters": {"n": 2**70, "m": -(2**70)}},
    "deep": {"requestParameters": _nested(50)},
    "control_characters": {"userAgent": "a\x00b\x1b[2Jc\r\nd\u2028e"},
    "wrong_types": {"userIdentity": [1], "userAgent": {"a": 1}, "awsRegion": 7, "eventTime": False},
    "empty_strings": {"awsRegion": "", "recipientAccountId": "", "eventName": ""},
    "large": {"requestParameters": {"text": "x" * 300_000}},
}


class SinkContract:
    """What every sink has to keep."""

    @pytest.fixture
    def sink(self) -> Iterator[Sink]:
        """The sink under test."""
        raise NotImplementedError

    @pytest.fixture
    def accepted(self) -> Callable[[], list[str]]:
        """A callable: the uids the other side has, in order of arrival."""
        raise NotImplementedError

    @pytest.fixture
    def fault(self) -> AbstractContextManager[object] | None:
        """A context manager within which sending must fail."""
        return None

    def test_one_record_is_there_when_send_returns(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """The other side has the record, under its identity, as soon as send has returned."""
        record = a_record(1)
        delivery = sink.send([record])
        assert (delivery.delivered, delivery.rejected) == (1, 0)
        assert accepted() == [record.identity.uid]

    def test_many_records_are_there_when_send_returns(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """All records of one send arrive, each once, in their order."""
        records = [a_record(number) for number in range(300)]
        assert sink.send(records).delivered == 300
        assert accepted() == [record.identity.uid for record in records]

    def test_a_repeat_has_the_same_uids(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """The same records sent twice can be recognised as the same."""
        records = [a_record(1), a_record(2)]
        sink.send(records)
        sink.send(records)
        uids = [record.identity.uid for record in records]
        assert accepted() == uids + uids

    def test_regions_and_accounts_mix(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """Records of several regions and accounts go in one send."""
        records = [
            a_record(number, awsRegion=region, recipientAccountId=account)
            for number, (region, account) in enumerate(
                [("us-east-2", "1" * 12), ("eu-west-1", "1" * 12), ("us-east-2", "2" * 12), ("us-east-2", "1" * 12)]
            )
        ]
        assert sink.send(records).delivered == 4
        assert sorted(accepted()) == sorted(record.identity.uid for record in records)

    @pytest.mark.parametrize("odd", _ODD.values(), ids=_ODD)
    def test_an_odd_record_does_not_fail_its_neighbours(
        self, sink: Sink, accepted: Callable[[], list[str]], odd: dict[str, Any]
    ) -> None:
        """A legal and strange record is accepted, and so are those around it."""
        records = [a_record(1), a_record(2, **odd), a_record(3)]
        assert sink.send(records).delivered == 3
        assert sorted(accepted()) == sorted(record.identity.uid for record in records)

    def test_several_threads_send_at_once(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """What four threads send at the same time all arrives, nothing twice."""
        batches = [[a_record(100 * thread + n) for n in range(25)] for thread in range(4)]
        failures: list[BaseException] = []
        start = threading.Barrier(4)

        def work(batch: list[Record]) -> None:
            start.wait()
            try:
                for record in batch:
                    sink.send([record])
            except BaseException as error:  # shown by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(accepted()) == sorted(record.identity.uid for batch in batches for record in batch)

    def test_it_works_again_after_a_fault(
        self, sink: Sink, accepted: Callable[[], list[str]], fault: AbstractContextManager[object] | None
    ) -> None:
        """A failure says so, leaves nothing behind, and the next send succeeds."""
        if fault is None:
            pytest.skip("no fault to play")
        record = a_record(1)
        with fault, pytest.raises(ExporterError):
            sink.send([record])
        assert accepted() == []
        assert sink.send([record]).delivered == 1
        assert accepted() == [record.identity.uid]

    def test_check_finds_a_working_receiver_and_sends_no_record(
        self, sink: Sink, accepted: Callable[[], list[str]]
    ) -> None:
        """Trying the receiver says that it works and leaves no record there."""
        findings = list(sink.check())
        assert [finding.level for finding in findings] == ["ok"]
        assert accepted() == []

    def test_close_is_safe_twice(self, sink: Sink, accepted: Callable[[], list[str]]) -> None:
        """Closing again does nothing, and what was accepted stays so."""
        record = a_record(1)
        sink.send([record])
        sink.close()
        sink.close()
        assert accepted() == [record.identity.uid]

    def test_close_without_a_send(self, sink: Sink) -> None:
        """A sink that was never used can be closed."""
        sink.close()
