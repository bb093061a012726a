"""The Grafana dashboards as code: ``python -m deploy.dashboards [--check]`` writes them as JSON for the Helm chart.

:mod:`deploy.dashboards.overview` and :mod:`deploy.dashboards.pipeline` ask Prometheus, :mod:`deploy.dashboards.events`
asks Loki. One file each, because one dashboard has one data source (dashboard-linter, template-datasource-rule).
"""
