"""What is known beforehand of AWS services, as data: operations, which of them only read, regions, end of support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

__all__ = ["FAULT_CODES", "LOOKOUT_METRICS", "SERVICES", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service preset.

    Attributes:
        event_source: its ``eventSource``.
        title: its name in prose.
        operations: every operation -> whether it only reads (IAM access levels List and Read).
        regions: where it was offered; empty: not known.
        ended: the last day of support; None: it lives.
    """

    event_source: str
    title: str
    operations: Mapping[str, bool]
    regions: tuple[str, ...] = ()
    ended: date | None = None


_READS = """
DescribeAlert DescribeAnomalyDetectionExecutions DescribeAnomalyDetector DescribeMetricSet GetAnomalyGroup
GetDataQualityMetrics GetFeedback GetSampleData ListAlerts ListAnomalyDetectors ListAnomalyGroupRelatedMetrics
ListAnomalyGroupSummaries ListAnomalyGroupTimeSeries ListMetricSets ListTagsForResource
""".split()

_WRITES = """
ActivateAnomalyDetector BackTestAnomalyDetector CreateAlert CreateAnomalyDetector CreateMetricSet
DeactivateAnomalyDetector DeleteAlert DeleteAnomalyDetector DetectMetricSetConfig PutFeedback TagResource UntagResource
UpdateAlert UpdateAnomalyDetector UpdateMetricSet
""".split()

#: API version 2017-07-25; access levels of the Service Authorization Reference; end of support as the CloudFormation
#: and CDK notices say it (the developer guide says 2025-09-12).
LOOKOUT_METRICS = Service(
    event_source="lookoutmetrics.amazonaws.com",
    title="Amazon Lookout for Metrics",
    operations=dict(
        sorted([(name, True) for name in _READS] + [(name, False) for name in _WRITES]),
    ),
    regions=(
        "us-east-1",
        "us-east-2",
        "us-west-2",
        "eu-central-1",
        "eu-west-1",
        "eu-north-1",
        "ap-northeast-1",
        "ap-southeast-1",
        "ap-southeast-2",
    ),
    ended=date(2025, 10, 9),
)

SERVICES: Mapping[str, Service] = {LOOKOUT_METRICS.event_source: LOOKOUT_METRICS}

#: ``errorCode`` values that are the service's own fault: severity ERROR instead of WARN.
FAULT_CODES: frozenset[str] = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "InternalServiceException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
