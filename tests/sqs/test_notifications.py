"""Every form of body, and what is in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.notifications import Carried, Drop, Named, classified
from tests.fakes.events import event
from tests.sqs.queue import (
    BUCKET,
    FOLDER,
    bridge_record,
    bridge_s3,
    key_of,
    s3_event,
    s3_record,
    sns,
    trail_sns,
)

KEY = key_of(1)


def named(*keys: str) -> Named:
    return Named(BUCKET, keys)


OBJECTS = {
    "s3": (s3_event(KEY), "s3", [named(KEY)]),
    "s3, many keys": (s3_event(KEY, key_of(2)), "s3", [named(KEY), named(key_of(2))]),
    "s3, version 2.3": (s3_event(KEY).replace('"2.1"', '"2.3"'), "s3", [named(KEY)]),
    "s3 by MinIO": (s3_event(KEY).replace("ObjectCreated:Put", "s3:ObjectCreated:Put"), "s3", [named(KEY)]),
    "s3, copied": (s3_event(KEY).replace(":Put", ":Copy"), "s3", [named(KEY)]),
    "s3, plus is a blank": (s3_event(f"team+a/{KEY}"), "s3", [named(f"team a/{KEY}")]),
    "s3, percent": (s3_event(f"team%20a%2Bb/{KEY}"), "s3", [named(f"team a+b/{KEY}")]),
    "s3, unicode": (s3_event(f"b%C3%BCro/{KEY}"), "s3", [named(f"büro/{KEY}")]),
    "s3 by SNS": (sns(s3_event(KEY)), "sns:s3", [named(KEY)]),
    "byte-order mark": ("\ufeff" + s3_event(KEY), "s3", [named(KEY)]),
    "trail": (trail_sns(KEY), "cloudtrail_sns", [named(KEY)]),
    "trail, many keys": (trail_sns(KEY, key_of(2)), "cloudtrail_sns", [named(KEY), named(key_of(2))]),
    "trail, bare key": (
        json.dumps({"s3Bucket": BUCKET, "s3ObjectKey": KEY}),
        "cloudtrail_sns",
        [named(KEY)],
    ),
    "trail, plus stays": (trail_sns(f"a+b%20/{KEY}"), "cloudtrail_sns", [named(f"a+b%20/{KEY}")]),
    "trail by SNS": (sns(trail_sns(KEY)), "sns:cloudtrail_sns", [named(KEY)]),
    "bridge": (bridge_s3(KEY), "eventbridge_s3", [named(KEY)]),
    "bridge, key as it is, then decoded": (
        bridge_s3(f"a+b/{KEY}"),
        "eventbridge_s3",
        [named(f"a+b/{KEY}", f"a b/{KEY}")],
    ),
    "bridge by SNS": (sns(bridge_s3(KEY)), "sns:eventbridge_s3", [named(KEY)]),
    "outside the layout": (s3_event("copies/x.json.gz"), "s3", [named("copies/x.json.gz")]),
    "organization": (
        s3_event("p/AWSLogs/o-abcdefghij/111122223333/CloudTrail/us-east-2/2026/02/01/x.json.gz"),
        "s3",
        [named("p/AWSLogs/o-abcdefghij/111122223333/CloudTrail/us-east-2/2026/02/01/x.json.gz")],
    ),
}


@pytest.mark.parametrize(("body", "shape", "contents"), OBJECTS.values(), ids=OBJECTS)
def test_objects_are_named(body: str, shape: str, contents: list[Named]):
    """Each form that names objects yields every key of it, decoded where S3 encodes and nowhere else."""
    notice = classified(body)
    assert (notice.shape, list(notice.contents)) == (shape, contents)


DROPPED = {
    "validation text": ("CloudTrail validation message.", ["not_json"]),
    "validation text by SNS": (sns("CloudTrail validation message."), ["not_json"]),
    "nothing": ("", ["not_json"]),
    "test event": ('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"trail-archive"}', ["test_event"]),
    "test event by SNS": (sns('{"Event":"s3:TestEvent"}'), ["test_event"]),
    "subscription": (sns("You have chosen to subscribe", "SubscriptionConfirmation"), ["confirmation"]),
    "unsubscription": (sns("You have left", "UnsubscribeConfirmation"), ["confirmation"]),
    "SNS in SNS": (sns(sns(s3_event(KEY))), ["unknown_shape"]),
    "SNS without a message": ('{"Type":"Notification","TopicArn":"t"}', ["unknown_shape"]),
    "removed": (json.dumps({"Records": [s3_record(KEY, name="ObjectRemoved:Delete")]}), ["not_created"]),
    "restored": (json.dumps({"Records": [s3_record(KEY, name="ObjectRestore:Completed")]}), ["not_created"]),
    "digest": (s3_event(KEY.replace("/CloudTrail/", "/CloudTrail-Digest/")), ["kind"]),
    "insight": (bridge_s3(KEY.replace("/CloudTrail/", "/CloudTrail-Insight/")), ["kind"]),
    "aggregated": (trail_sns(KEY.replace("/CloudTrail/", "/CloudTrail-Aggregated/")), ["kind"]),
    "another service's logs": (s3_event(KEY.replace("/CloudTrail/", "/elasticloadbalancing/")), ["kind"]),
    "a folder": (s3_event(f"{FOLDER}/"), ["kind"]),
    "broken JSON": (s3_event(KEY)[:-5], ["unknown_shape"]),
    "a list": ("[]", ["unknown_shape"]),
    "JSON in a string": (json.dumps(s3_event(KEY)), ["unknown_shape"]),
    "no records": ('{"Records":[]}', ["unknown_shape"]),
    "records of something": ('{"Records":[1,{"a":2},null]}', ["unknown_shape"] * 3),
    "s3 without a key": ('{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{}}}]}', ["unknown_shape"]),
    "trail without keys": (trail_sns(), ["unknown_shape"]),
    "trail with strange keys": (json.dumps({"s3Bucket": BUCKET, "s3ObjectKey": [1]}), ["unknown_shape"]),
    "bridge without detail": ('{"detail-type":"Object Created"}', ["unknown_shape"]),
    "bridge record without detail": ('{"detail-type":"AWS API Call via CloudTrail"}', ["unknown_shape"]),
    "another bridge event": ('{"detail-type":"Object Deleted","detail":{}}', ["unknown_shape"]),
    "too deep": ('{"Records":' + "[" * 100_000, ["unknown_shape"]),
}


@pytest.mark.parametrize(("body", "reasons"), DROPPED.values(), ids=DROPPED)
def test_what_names_nothing_has_a_reason(body: str, reasons: list[str]):
    """Everything else is dropped by a known reason; strange JSON is never taken for idle text."""
    assert [content.reason for content in classified(body).contents if isinstance(content, Drop)] == reasons


@pytest.mark.parametrize(
    "kind",
    [
        "AWS API Call via CloudTrail",
        "AWS Console Sign In via CloudTrail",
        "AWS Console Signin via CloudTrail",
        "AWS Service Event via CloudTrail",
        "AWS Insight via CloudTrail",
    ],
)
@pytest.mark.parametrize("wrap", [str, sns], ids=["bare", "sns"])
def test_a_record_is_carried(kind: str, wrap: type[str]):
    """EventBridge's "via CloudTrail" events bring the record itself, as the text it came in."""
    text = '{"eventVersion" : "1.11", "eventID": "e-1", "n": 1.0}'
    notice = classified(wrap(f'{{"detail-type": {json.dumps(kind)}, "detail": {text}}}'))
    assert notice.contents == (Carried(text.encode()),)


def test_a_file_sent_as_it_is_is_carried():
    """`Records` of CloudTrail records are taken one by one."""
    records = [event(eventID="e-1"), event(eventID="e-2")]
    contents = classified(json.dumps({"Records": records})).contents
    assert [json.loads(content.data) for content in contents if isinstance(content, Carried)] == records


@pytest.mark.parametrize("odd", ["\\ud800", "\\u0000"], ids=["lone surrogate", "nul"])
def test_odd_text_does_not_hide_a_record(odd: str):
    """A record whose text the strict reader refuses is carried all the same."""
    body = bridge_record("e-1").replace('"eventID": "e-1"', f'"eventID": "e-1", "odd": "{odd}"')
    (content,) = classified(body).contents
    assert isinstance(content, Carried)
    assert json.loads(content.data)["eventID"] == "e-1"


def test_each_key_stands_for_itself():
    """In one message a wanted key, a digest, a removal and something unknown are told apart."""
    body = json.dumps(
        {
            "Records": [
                s3_record(KEY),
                s3_record(KEY.replace("/CloudTrail/", "/CloudTrail-Digest/")),
                s3_record(KEY, name="ObjectRemoved:Delete"),
                {},
            ]
        }
    )
    found = [content.reason if isinstance(content, Drop) else "object" for content in classified(body).contents]
    assert found == ["object", "kind", "not_created", "unknown_shape"]


def test_kinds_are_chosen():
    """A folder that is asked for is read."""
    key = KEY.replace("/CloudTrail/", "/CloudTrail-Insight/")
    assert classified(s3_event(key), kinds=["CloudTrail-Insight"]).contents == (named(key),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["Type", "TopicArn", "Message", "Event", "Records", "s3Bucket", "s3ObjectKey", "detail-type", "detail", "s3"]


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(MEMBERS), JSON).map(json.dumps))
def test_nothing_makes_it_fail(body: str):
    """Whatever the body, there is an answer, and something in it."""
    assert classified(body).contents
