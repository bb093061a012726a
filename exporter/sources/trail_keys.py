"""Names of trail files in a bucket (CloudTrail User Guide, "Finding your CloudTrail log files"). Pure.

::

    [PREFIX/]AWSLogs/[o-ORGID/]ACCOUNT/KIND/REGION/YYYY/MM/DD/ACCOUNT_KIND_REGION_YYYYMMDDTHHmmZ_UNIQUE.json.gz

The minute is that of delivery, rounded to five; what follows it has no meaning. So keys below a region's folder sort by
minute, and within one minute, or between two, a file may be stored after one that sorts behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

__all__ = ["DEFAULT_KINDS", "KINDS", "Listed", "TrailFolder", "TrailKey", "day_of", "trail_key"]

#: Every folder CloudTrail writes beside the regions' of an account, with what is in it.
KINDS: dict[str, str] = {
    "CloudTrail": "management and data events",
    "CloudTrail-Insight": "Insights: summaries, not calls",
    "CloudTrail-NetworkActivity": "calls through VPC endpoints",
    "CloudTrail-Aggregated": "five-minute summaries, not events",
    "CloudTrail-Digest": "hashes of the other files",
}
DEFAULT_KINDS: tuple[str, ...] = ("CloudTrail",)

_KEY = re.compile(
    r"(?:(?P<prefix>.+?)/)?AWSLogs/(?:(?P<org>o-[a-z0-9]{10,32})/)?(?P<account>\d{12})/"
    r"(?P<kind>CloudTrail(?:-(?:Insight|NetworkActivity|Aggregated|Digest))?)/(?P<region>[a-z0-9-]+)/"
    r"(?P<rest>\d{4}/\d{2}/\d{2}/[^/]+)",
    re.DOTALL | re.ASCII,
)
_REST = re.compile(r"(\d{4}/\d{2}/\d{2})/[^/]+", re.DOTALL | re.ASCII)
_MINUTE = re.compile(r"_(\d{8}T\d{4})Z", re.ASCII)
_SUFFIXES = (".json", ".jsonl", ".gz")
_PARTITION = re.compile(
    r"(?:(?P<org>o-[a-z0-9]{10,32})/)?(?P<account>\d{12})/(?:(?P<kind>CloudTrail-[A-Za-z]+)/)?(?P<region>[a-z0-9-]+)",
    re.ASCII,
)


def day_of(text: str) -> date | None:
    """``2026/02/01`` -> the day; None when the calendar has no such day."""
    try:
        return date(int(text[:4]), int(text[5:7]), int(text[8:10]))
    except ValueError:
        return None


def _minute_of(name: str, day: date | None) -> datetime | None:
    """The minute in a file's name, UTC; None when it has none, or not one of the day it lies under."""
    match = _MINUTE.search(name)
    if match is None:
        return None
    try:
        minute = datetime.strptime(match[1], "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
    return minute if minute.date() == day else None


@dataclass(frozen=True, slots=True)
class TrailKey:
    """What a key says of its object.

    Attributes:
        prefix: in front of AWSLogs, without the slash between; "" without one.
        org: id of the organization, ``o-...``; "" when its folder is not there.
        kind: a key of :data:`KINDS`.
        day: of delivery; None when the calendar has no such day.
        minute: of delivery, as the name has it; None when it has none.
        name: the last part of the key.
    """

    prefix: str
    org: str
    account: str
    kind: str
    region: str
    day: date | None
    minute: datetime | None
    name: str


def trail_key(key: str) -> TrailKey | None:
    """The key of an object, taken apart; None: CloudTrail does not name its files so."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    day, name = day_of(match["rest"][:10]), match["rest"][11:]
    return TrailKey(
        prefix=match["prefix"] or "",
        org=match["org"] or "",
        account=match["account"],
        kind=match["kind"],
        region=match["region"],
        day=day,
        minute=_minute_of(name, day),
        name=name,
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing has it.

    Attributes:
        rest: the key below the region's folder.
        version: ``etag-size``.
        day: the day whose folder it lies in; None: in none.
        minute: in its name, if it is of that day.
    """

    key: str
    rest: str
    version: str
    size: int
    day: date | None
    minute: datetime | None

    @property
    def scope(self) -> str:
        """The day, as the scope of its unit; "" without one."""
        return self.day.isoformat() if self.day else ""

    @property
    def readable(self) -> bool:
        """Whether it is named as a file of events."""
        return self.day is not None and self.rest.lower().endswith(_SUFFIXES)


@dataclass(frozen=True)
class TrailFolder:
    """Everything CloudTrail delivers of one account, kind and region.

    Attributes:
        base: the key up to and with ``AWSLogs/``.
    """

    base: str
    org: str
    account: str
    kind: str
    region: str

    @cached_property
    def path(self) -> str:
        """The key all its objects begin with."""
        return self.base + "/".join(part for part in (self.org, self.account, self.kind, self.region, "") if part) + "/"

    @property
    def partition(self) -> str:
        """Key of the partition: ``[o-ORG/]ACCOUNT/[KIND/]REGION``, the kind only when it is not CloudTrail."""
        kind = "" if self.kind == "CloudTrail" else self.kind
        return "/".join(part for part in (self.org, self.account, kind, self.region) if part)

    @classmethod
    def of(cls, base: str, partition: str) -> TrailFolder:
        """The folder a partition key names.

        Raises:
            ValueError: it is none.
        """
        match = _PARTITION.fullmatch(partition)
        if match is None:
            raise ValueError(f"{partition!r} is no partition of a bucket")
        return cls(base, match["org"] or "", match["account"], match["kind"] or "CloudTrail", match["region"])

    def before(self, moment: datetime) -> str:
        """A key that sorts before every file of that minute and later, behind every earlier one; it need not exist."""
        return f"{self.before_day(moment.date())}{self.account}_{self.kind}_{self.region}_{moment:%Y%m%dT%H%M}Z"

    def before_day(self, day: date) -> str:
        """A key that sorts before everything of that day."""
        return f"{self.path}{day.year:04}/{day.month:02}/{day.day:02}/"

    def listed(self, key: str, etag: str, size: int) -> Listed:
        """The object under a key that begins with :attr:`path`."""
        rest = key[len(self.path) :]
        day = day_of(rest[:10]) if _REST.fullmatch(rest) else None
        return Listed(
            key=key,
            rest=rest,
            version=f"{etag.strip(chr(34))}-{size}",
            size=size,
            day=day,
            minute=_minute_of(rest[11:], day),
        )
