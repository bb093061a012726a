"""Alerts and recording rules as code: one declaration each, several files generated from it.

``python -m deploy.rules`` writes them, ``python -m deploy.rules --check`` says which are stale.
"""
