"""Keys of trail files: taken apart, and made up to list from."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.trail_keys import KINDS, Listed, TrailFolder, TrailKey, trail_key

MINUTE = datetime(2026, 2, 1, 8, 5, tzinfo=UTC)
NAME = "111122223333_CloudTrail_us-east-2_20260201T0805Z_aaaabbbbccccdddd.json.gz"
PLAIN = TrailKey("", "", "111122223333", "CloudTrail", "us-east-2", MINUTE.date(), MINUTE, NAME)
BELOW = "111122223333/CloudTrail/us-east-2/2026/02/01/"


def like_plain(**changes: object) -> TrailKey:
    from dataclasses import replace

    return replace(PLAIN, **changes)  # type: ignore[arg-type]


KEYS = [
    pytest.param(f"AWSLogs/{BELOW}{NAME}", PLAIN, id="plain"),
    pytest.param(f"team a/b/AWSLogs/{BELOW}{NAME}", like_plain(prefix="team a/b"), id="prefix"),
    pytest.param(f"AWSLogs/o-abcdefghij/{BELOW}{NAME}", like_plain(org="o-abcdefghij"), id="organization"),
    pytest.param(f"AWSLogs/AWSLogs/{BELOW}{NAME}", like_plain(prefix="AWSLogs"), id="prefix like the folder"),
    pytest.param(
        f"AWSLogs/{BELOW}{NAME}".replace("us-east-2", "us-gov-west-1"),
        like_plain(region="us-gov-west-1", name=NAME.replace("us-east-2", "us-gov-west-1")),
        id="GovCloud",
    ),
    pytest.param(
        f"AWSLogs/{BELOW}x_20260201T0805Zaaaa.json.gz",
        like_plain(name="x_20260201T0805Zaaaa.json.gz"),
        id="no underscore",
    ),
    pytest.param(f"AWSLogs/{BELOW}copy.json", like_plain(minute=None, name="copy.json"), id="another name"),
    pytest.param(
        f"AWSLogs/{BELOW}a_20260202T0805Z_b.json.gz",
        like_plain(minute=None, name="a_20260202T0805Z_b.json.gz"),
        id="a minute of another day",
    ),
    pytest.param(
        f"AWSLogs/{BELOW}a_20260201T2561Z_b.json.gz",
        like_plain(minute=None, name="a_20260201T2561Z_b.json.gz"),
        id="no minute of any day",
    ),
    pytest.param(
        f"AWSLogs/111122223333/CloudTrail/us-east-2/2026/13/01/{NAME}",
        like_plain(day=None, minute=None),
        id="no day of any year",
    ),
    pytest.param(
        f"AWSLogs/111122223333/CloudTrail-Digest/us-east-2/2026/02/01/{NAME}",
        like_plain(kind="CloudTrail-Digest"),
        id="digest",
    ),
]


@pytest.mark.parametrize(("key", "parts"), KEYS)
def test_key_is_taken_apart(key: str, parts: TrailKey) -> None:
    """Each form CloudTrail writes, and what a copy job makes of it."""
    assert trail_key(key) == parts


@pytest.mark.parametrize(
    "key",
    [
        "",
        "AWSLogs/",
        f"AWSLogs/{BELOW}",
        f"AWSLogs/{BELOW}a/b.json.gz",
        f"AWSLogs/{BELOW}{NAME}".replace("111122223333/", "1111/"),
        f"AWSLogs/{BELOW}{NAME}".replace("111122223333/", "١١١١٢٢٢٢٣٣٣٣/"),
        f"AWSLogs/{BELOW}{NAME}".replace("/CloudTrail/", "/Config/"),
        f"AWSLogs/{BELOW}{NAME}".replace("/2026/", "/26/"),
        f"AWSLogs/o-short/{BELOW}{NAME}",
        f"xAWSLogs/{BELOW}{NAME}",
    ],
)
def test_other_keys_are_none(key: str) -> None:
    """Near misses are no trail files."""
    assert trail_key(key) is None


@given(st.text(max_size=80))
def test_no_key_is_too_odd(key: str) -> None:
    """Nothing a bucket can hold makes it fail."""
    trail_key(key)
    TrailFolder("AWSLogs/", "", "111122223333", "CloudTrail", "r").listed(f"AWSLogs/{key}", key, 0)


minutes = st.integers(0, 45_000_000).map(lambda seconds: MINUTE + timedelta(seconds=seconds * 51 - 400_000_000))


@given(
    minutes, minutes, st.text("abcdefghijklmnop0123456789", min_size=16, max_size=16), st.sampled_from(sorted(KINDS))
)
def test_made_up_key_divides_by_minute(begin: datetime, named: datetime, unique: str, kind: str) -> None:
    """Listing behind it gives exactly the files of that minute and later, in the order of bytes S3 uses."""
    folder = TrailFolder("p/AWSLogs/", "o-abcdefghij", "111122223333", kind, "us-east-2")
    key = f"{folder.before(named)}_{unique}.json.gz"
    whole = timedelta(minutes=1)
    later = (named - datetime.min.replace(tzinfo=UTC)) // whole >= (begin - datetime.min.replace(tzinfo=UTC)) // whole
    assert (key.encode() > folder.before(begin).encode()) == later
    assert (key.encode() > folder.before_day(begin.date()).encode()) == (named.date() >= begin.date())
    parts = trail_key(key)
    assert parts is not None
    assert (parts.kind, parts.minute) == (kind, named.replace(second=0, microsecond=0))


@pytest.mark.parametrize(
    "folder",
    [
        TrailFolder("AWSLogs/", "", "111122223333", "CloudTrail", "us-east-2"),
        TrailFolder("AWSLogs/", "o-abcdefghij", "111122223333", "CloudTrail", "us-gov-west-1"),
        TrailFolder("AWSLogs/", "", "111122223333", "CloudTrail-NetworkActivity", "cn-north-1"),
    ],
)
def test_partition_names_its_folder(folder: TrailFolder) -> None:
    """Back and forth, so that a restart finds what it left."""
    assert TrailFolder.of("AWSLogs/", folder.partition) == folder


@pytest.mark.parametrize("key", ["", "us-east-1", "1/us-east-1", "111122223333", "111122223333/a/b/c"])
def test_other_partitions_name_none(key: str) -> None:
    """What is no partition of a bucket is refused."""
    with pytest.raises(ValueError, match="no partition"):
        TrailFolder.of("AWSLogs/", key)


def test_listed_object_knows_its_unit() -> None:
    """Day as scope, ETag without its quotes and size as version."""
    folder = TrailFolder("AWSLogs/", "", "111122223333", "CloudTrail", "us-east-2")
    listed = folder.listed(f"AWSLogs/{BELOW}{NAME}", '"abc"', 7)
    assert listed == Listed(f"AWSLogs/{BELOW}{NAME}", f"2026/02/01/{NAME}", "abc-7", 7, date(2026, 2, 1), MINUTE)
    assert (listed.scope, listed.readable) == ("2026-02-01", True)
