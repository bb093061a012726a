"""Trail files on a local disk: a file, or a folder with everything below it, watched for new files.

A file is a unit: its name below the folder, in the version "size-mtime". It is finished when its last batch is
committed; a process that dies in between reads it again from its beginning, and the ledger drops what was counted.
"""

from __future__ import annotations

import logging
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from exporter.contract import Batch, Clock, Finding, Item, Partition, Progress, Unit
from exporter.decompress import Readable
from exporter.errors import Blocked
from exporter.reading import Limits, Reading
from exporter.record import Document, Malformed
from exporter.sources.folder import Found, Unreadable, walk

__all__ = ["FilesSource"]

_log = logging.getLogger("exporter.files")
