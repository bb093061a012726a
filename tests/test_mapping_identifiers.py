"""Which resource of the service a call is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exporter.services import LOOKOUT_METRICS
from tests.fakes.events import event
from tests.fakes.mapped import attributes

_PREFIX = "arn:aws:lookoutmetrics:us-east-2:123456789012:"
_ARNS = {
    "anomaly_detector": _PREFIX + "AnomalyDetector:d",
    "metric_set": _PREFIX + "MetricSet/d/s",
    "alert": _PREFIX + "Alert:a",
}
_ON_DETECTOR = """
ActivateAnomalyDetector BackTestAnomalyDetector DeactivateAnomalyDetector DeleteAnomalyDetector
DescribeAnomalyDetectionExecutions DescribeAnomalyDetector DetectMetricSetConfig ListAlerts
ListAnomalyGroupSummaries ListMetricSets UpdateAnomalyDetector
""".split()
_DETECTOR = {"AnomalyDetectorArn": _ARNS["anomaly_detector"]}
_ROLE = {"RoleArn": "arn:aws:iam::1:role/r", "KmsKeyArn": "arn:aws:kms:us-east-2:1:key/k"}

#: operation -> (request, response, identifiers expected)
OPERATIONS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, dict[str, str]]] = {
    **{name: (_DETECTOR, None, {"anomaly_detector.arn": _ARNS["anomaly_detector"]}) for name in _ON_DETECTOR},
    "CreateAnomalyDetector": (
        {"AnomalyDetectorName": "d", **_ROLE},
        {"AnomalyDetectorArn": _ARNS["anomaly_detector"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"]},
    ),
    "CreateMetricSet": (
        {**_DETECTOR, "MetricSetName": "s"},
        {"MetricSetArn": _ARNS["metric_set"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "metric_set.arn": _ARNS["metric_set"]},
    ),
    "CreateAlert": (
        {**_DETECTOR, "AlertName": "a", "Action": {"SNSConfiguration": {"SnsTopicArn": "arn:aws:sns:x:1:t"}}},
        {"AlertArn": _ARNS["alert"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "alert.arn": _ARNS["alert"]},
    ),
    **{
        name: ({"AlertArn": _ARNS["alert"]}, None, {"alert.arn": _ARNS["alert"]})
        for name in ("DeleteAlert", "DescribeAlert", "UpdateAlert")
    },
    **{
        name: ({"MetricSetArn": _ARNS["metric_set"]}, None, {"metric_set.arn": _ARNS["metric_set"]})
        for name in ("DescribeMetricSet", "UpdateMetricSet")
    },
    "GetDataQualityMetrics": (
        {**_DETECTOR, "MetricSetArn": _ARNS["metric_set"]},
        None,
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "metric_set.arn": _ARNS["metric_set"]},
    ),
    **{
        name: (
            {**_DETECTOR, "AnomalyGroupId": "g-1"},
            None,
            {"anomaly_detector.arn": _ARNS["anomaly_detector"], "anomaly_group.id": "g-1"},
        )
        for name in ("GetAnomalyGroup", "ListAnomalyGroupRelatedMetrics", "ListAnomalyGroupTimeSeries")
    },
    **{
        name: (
            {**_DETECTOR, "AnomalyGroupTimeSeriesFeedback": {"AnomalyGroupId": "g-2"}},
            None,
            {"anomaly_detector.arn": _ARNS["anomaly_detector"], "anomaly_group.id": "g-2"},
        )
        for name in ("GetFeedback", "PutFeedback")
    },
    "GetSampleData": ({"S3SourceConfig": _ROLE}, None, {}),
    "ListAnomalyDetectors": ({}, None, {}),
    **{
        name: ({"ResourceArn": _ARNS[kind]}, None, {f"{kind}.arn": _ARNS[kind]})
        for name, kind in zip(("ListTagsForResource", "TagResource", "UntagResource"), _ARNS, strict=True)
    },
}


def test_every_operation_has_its_row() -> None:
    """The table covers the 30 operations of the service."""
    assert OPERATIONS.keys() == LOOKOUT_METRICS.operations.keys()


def _recased(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _recased(child) for key, child in value.items()}
    return value


@pytest.mark.parametrize("recase", [lambda value: value, _recased], ids=["Pascal", "camel"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_names_its_resource(operation: str, recase: Callable[[Any], Any]) -> None:
    """Each operation's record names its detector, metric set, alert or group, whatever the case of the first letter."""
    request, response, expected = OPERATIONS[operation]
    found = attributes(event(eventName=operation, requestParameters=recase(request), responseElements=recase(response)))
    prefix = "aws.lookoutmetrics."
    assert {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)} == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"AnomalyDetectorArn": "my-detector"},
        {"AnomalyDetectorArn": ["arn:aws:x"]},
        {"anomalydetectorarn": _ARNS["anomaly_detector"]},
        {"ResourceArn": "arn:aws:s3:::bucket"},
        {"ResourceArn": "arn:"},
        {"AnomalyGroupId": 5},
        [_DETECTOR],
        "AnomalyDetectorArn",
    ],
    ids=str,
)
def test_what_is_no_identifier_is_none(parameters: object) -> None:
    """Names, other types and other resources do not become identifiers."""
    assert not [name for name in attributes(event(requestParameters=parameters)) if name.startswith("aws.lookout")]


def test_another_services_table() -> None:
    """A configured table serves other services, and only the service it names."""
    options = {"resource_attributes": {"s3.amazonaws.com": {"bucketName": "aws.s3.bucket"}}}
    changes = {"requestParameters": {"BucketName": "b"}}
    assert attributes(event(eventSource="s3.amazonaws.com", **changes), **options)["aws.s3.bucket"] == "b"
    assert "aws.s3.bucket" not in attributes(event(**changes), **options)
