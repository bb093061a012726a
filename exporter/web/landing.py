"""The landing page: one glance at whether it works, what it reads and where it sends. Pure: a status in, HTML out."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from exporter.status import SourceStatus, Status

__all__ = ["landing_page"]

_STYLE = """
:root { color-scheme: light dark; --line: #d8dee4; --soft: #59636e; --back: #fff; --card: #f6f8fa; --text: #1f2328;
  --good: #1a7f37; --bad: #b35900; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #9198a1; --back: #0d1117; --card: #151b23;
  --text: #e6edf3; --good: #3fb950; --bad: #e3883b; --link: #6cb0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 1.6rem; letter-spacing: -.01em; }
h1 small { font-size: .9rem; font-weight: 400; color: var(--soft); letter-spacing: 0; }
h2 { margin: 2.25rem 0 .6rem; font-size: 1rem; }
p { margin: .35rem 0; }
a { color: var(--link); }
.soft { color: var(--soft); }
.card { margin: 1.5rem 0 0; padding: .9rem 1.1rem; background: var(--card); border: 1px solid var(--line);
  border-left: .3rem solid var(--good); border-radius: .4rem; }
.card.wait { border-left-color: var(--bad); }
.card.note { border-left-color: var(--line); }
.card ul { margin: .3rem 0 0; padding-left: 1.2rem; }
nav { display: flex; flex-wrap: wrap; gap: .35rem 1.25rem; margin: 1.25rem 0 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1.5rem 0 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td { overflow-wrap: anywhere; }
time { white-space: nowrap; font-variant-numeric: tabular-nums; }
"""

#: Rows shown; a page that lists every account and region of an organization helps nobody.
_ROWS = 200


def landing_page(status: Status, *, now: datetime, telemetry_path: str = "/metrics") -> str:
    """The page as HTML. Every value is escaped; nothing is loaded from anywhere."""
    title = "cloudtrail-exporter"
    links = ((telemetry_path, "Metrics"), ("/-/healthy", "Health"), ("/-/ready", "Readiness"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title} <small>{escape(status.version)}</small></h1>
<p class="soft">AWS CloudTrail events as OpenTelemetry logs and exact Prometheus counters.</p>
{_readiness(status)}
<nav>{"".join(f'<a href="{escape(href)}">{text}</a>' for href, text in links)}</nav>
{_notices(status)}
{_facts(status, now)}
{_sources(status, now)}
</main>
</body>
</html>
"""


def _readiness(status: Status) -> str:
    if status.ready:
        return '<div class="card"><strong>Ready</strong></div>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in status.reasons)
    return f'<div class="card wait"><strong>Not ready</strong><ul>{reasons}</ul></div>'


def _notices(status: Status) -> str:
    return "".join(f'<div class="card note">{escape(notice)}</div>' for notice in status.notices)


def _facts(status: Status, now: datetime) -> str:
    facts = (
        ("Reading", escape(status.reading)),
        ("Sending to", escape(status.sending)),
        ("State", escape(status.keeping)),
        ("Counted", escape(status.counted)),
        ("Running since", _moment(status.started_at, now)),
    )
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value) + "</dl>"


def _sources(status: Status, now: datetime) -> str:
    if not status.sources:
        return ""
    rows = "".join(_row(source, now) for source in status.sources[:_ROWS])
    more = len(status.sources) - _ROWS
    rest = f'<p class="soft">and {more} more</p>' if more > 0 else ""
    return (
        '<h2>Sources</h2><div class="wide"><table><thead><tr><th>Source</th><th>Type</th><th>Part</th><th>State</th>'
        "<th>Last success</th><th>Complete through</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{rest}"
    )


def _row(source: SourceStatus, now: datetime) -> str:
    state = escape(source.state)
    if source.hint:
        state += f'<br><span class="soft">{escape(source.hint)}</span>'
    cells = (
        escape(source.name),
        escape(source.type),
        escape(source.partition),
        state,
        _moment(source.last_success, now),
        _moment(source.through, now),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "-"
    utc = moment.astimezone(UTC)
    stamp = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{stamp}" title="{stamp}">{_ago((now - moment).total_seconds())}</time>'


def _ago(seconds: float) -> str:
    """An age in its largest unit, rounded down. A clock that jumped back makes ages negative: they are "now"."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "now"
