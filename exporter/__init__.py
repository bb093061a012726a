"""CloudTrail events of one service as OpenTelemetry log records and exact Prometheus counters."""

__version__ = "0.1.0"
