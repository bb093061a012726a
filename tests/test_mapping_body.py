"""Body, sentence, size and depth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.mapping import MappingOptions, sentence
from exporter.otel import ExportLogsServiceRequest, encode
from tests.fakes.events import IDENTITIES, SEED, event, record_of
from tests.fakes.mapped import attributes, deep, mapped

# -- body --------------------------------------------------------------------------------------------------------------


def test_json_body_keeps_order_and_spelling() -> None:
    """The body is the record as received, blanks taken out: order of keys, numbers and escapes are not touched."""
    data = b'{ "z": 1.0E+2, "eventID": "1",\n "a": 123456789012345678901234567890, "u": "\\u00e9\\ud83d\\ude00" }'
    assert (
        mapped(data).log_record.body
        == '{"z":1.0E+2,"eventID":"1","a":123456789012345678901234567890,"u":"\\u00e9\\ud83d\\ude00"}'
    )


def test_documentation_record_is_its_own_body() -> None:
    """A record that is compact already goes through byte for byte."""
    assert mapped(SEED).log_record.body == SEED.decode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b'{"eventID":"1","x":"a\\ud800b"}', '{"eventID":"1","x":"a�b"}', id="lone-surrogate"),
        pytest.param(b'{"eventID":"1","\\udc00":1}', '{"eventID":"1","�":1}', id="surrogate-in-key"),
        pytest.param(b'{"eventID":"1","x":"\xed\xa0\x80"}', '{"eventID":"1","x":"�"}', id="encoded-surrogate"),
        pytest.param(b'{"eventID":"1","x":[NaN,-Infinity]}', '{"eventID":"1","x":["NaN","-Infinity"]}', id="nan"),
        pytest.param(b'\xef\xbb\xbf{"eventID":"1"}', '{"eventID":"1"}', id="byte-order-mark"),
        pytest.param('{"eventID":"é"}'.encode("utf-16"), '{"eventID":"é"}', id="utf-16"),
    ],
)
def test_odd_records_get_a_rebuilt_body(data: bytes, expected: str) -> None:
    """Where the text as received is no valid JSON in UTF-8, the body is written anew."""
    body = mapped(data).log_record.body
    assert body == expected
    json.loads(str(body))


def test_map_body_is_the_record() -> None:
    """As a map the record keeps its values; nulls go."""
    body = mapped(SEED, body="map").log_record.body
    assert body == {key: value for key, value in json.loads(SEED).items() if value is not None}


def test_map_body_too_deep_is_json() -> None:
    """A record deeper than a receiver takes is sent as text."""
    value: Any = 1
    for _ in range(25):
        value = {"k": value}
    fields = event(requestParameters=value)
    assert json.loads(str(mapped(fields, body="map").log_record.body)) == fields


@pytest.mark.parametrize("body", ["sentence", "none"])
def test_original_goes_along_on_request(body: str) -> None:
    """With a body that is not the record, the record may travel as log.record.original, whole."""
    fields = event(requestParameters={"p": "x" * 100_000})
    assert "log.record.original" not in attributes(fields, body=body)
    assert json.loads(attributes(fields, body=body, original=True)["log.record.original"]) == fields


SENTENCES: list[tuple[str, dict[str, Any], str]] = [
    (
        "seed",
        {},
        (
            "IAMUser fred called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2"
            " from 205.256.256.182: ok"
        ),
    ),
    (
        "error",
        {"errorCode": "AccessDenied", "userIdentity": IDENTITIES["role-on-instance"]},
        (
            "AssumedRole collector/i-0abc123 called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in"
            " us-east-2 from 205.256.256.182: AccessDenied"
        ),
    ),
    (
        "sparse",
        {
            "userIdentity": ...,
            "eventName": ...,
            "eventSource": None,
            "awsRegion": "",
            "sourceIPAddress": 5,
            "errorMessage": "x",
        },
        "- called - on -: failed",
    ),
    (
        "hostile",
        {"userIdentity": {"type": "IAMUser", "userName": "a\n\x1b[31m\u202eb\u2028c"}, "sourceIPAddress": "\r\x00"},
        "IAMUser a??[31m?b?c called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2 from ??: ok",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in SENTENCES], ids=[row[0] for row in SENTENCES])
def test_sentence(changes: dict[str, Any], expected: str) -> None:
    """One line for people, whatever callers wrote into it."""
    assert sentence(record_of(event(**changes))) == expected


def test_sentence_is_bounded() -> None:
    """Long values do not make long lines."""
    changes = dict.fromkeys(("eventName", "awsRegion", "sourceIPAddress", "errorCode"), "x" * 10_000)
    assert len(sentence(record_of(event(**changes)))) < 1_500


# -- size and depth ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("levels", "kept"), [(20, True), (21, False), (40, False)])
def test_depth_is_limited(levels: int, kept: bool) -> None:
    """A value that nests deeper than a receiver takes becomes JSON text and is named."""
    found = attributes(event(requestParameters=deep(levels)))
    expected = deep(levels) if kept else json.dumps(deep(levels), separators=(",", ":"))
    assert found["aws.request.parameters"] == expected
    assert found.get("aws.cloudtrail.truncated") == (None if kept else ["aws.request.parameters"])


def test_the_deepest_setting_survives_a_receiver() -> None:
    """At the largest depth one may set, attributes and map bodies still parse under protobuf's limit of 100."""
    fields = event(requestParameters=deep(28), responseElements=deep(60))
    request = encode([mapped(fields, attribute_depth=28, body="map", parameters="map")])
    fields = event(requestParameters=deep(28))
    shallow = encode([mapped(fields, attribute_depth=28, body="map")])
    for message in (request, shallow):
        assert ExportLogsServiceRequest.FromString(message.SerializeToString()) == message
    assert shallow.resource_logs[0].scope_logs[0].log_records[0].body.HasField("kvlist_value")


def test_size_is_limited() -> None:
    """What is larger than allowed is cut, between characters, and named; the rest and the body stay."""
    fields = event(requestParameters={"p": "é" * 700}, userAgent="u" * 2_000, apiVersion="v" * 1_024)
    found = attributes(fields, attribute_bytes=1_024)
    assert found["aws.cloudtrail.truncated"] == ["user_agent.original", "aws.request.parameters"]
    assert found["user_agent.original"] == "u" * 1_024
    assert found["aws.request.parameters"] == '{"p":"' + "é" * 509
    assert found["aws.cloudtrail.api_version"] == "v" * 1_024
    assert json.loads(str(mapped(fields, attribute_bytes=1_024).log_record.body)) == fields


@pytest.mark.parametrize("options", [{"attribute_depth": 29}, {"attribute_depth": 0}, {"attribute_bytes": 1}], ids=str)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """Limits that a receiver would not survive are refused when they are set."""
    with pytest.raises(ValueError, match="attribute_"):
        MappingOptions(**options)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("map", ({"a": [1]}, "text", {"s": 1})),
        ("json", ('{"a":[1]}', "text", '{"s":1}')),
        ("off", (None, None, None)),
    ],
)
def test_parameters_switch(mode: str, expected: tuple[object, ...]) -> None:
    """The large documents as maps, as JSON text, or left to the body; identifiers are found all the same."""
    arn = "arn:aws:lookoutmetrics:us-east-2:1:Alert:a"
    fields = event(
        requestParameters={"a": [1]}, responseElements="text", serviceEventDetails={"s": 1}, additionalEventData={}
    )
    found = attributes(fields, parameters=mode)
    names = ("aws.request.parameters", "aws.response.elements", "aws.cloudtrail.service_event_details")
    assert tuple(found.get(name) for name in names) == expected
    with_arn = attributes(event(requestParameters={"AlertArn": arn}), parameters=mode)
    assert with_arn["aws.lookoutmetrics.alert.arn"] == arn
