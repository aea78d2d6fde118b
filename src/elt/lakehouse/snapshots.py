"""Bronze snapshots in a bucket: ``AAAA/MM/<UTC timestamp>/<table>/part-00000.parquet`` and, last, ``_manifest.json``.

The manifest commits its snapshot: parts without one are the leftovers of a run that died. Every value is text, as the
source printed it, or NULL; the manifest keeps the source's own column types.

A part has two columns more, if its program knew them: each row's place in the source (``catalog.ORIGIN`` and
``POSITION``), under the names that the manifest keeps, which no column of the shop has.

A folder of the same kind with ``_reset.json`` in it is a mark: the snapshots before it are another shop's. They stay,
and are never applied, replayed, or taken for the newest.

A bucket may hold other people's objects as well: ``is_ours`` says which are the pipeline's, and no other is ever taken
for a snapshot, pointed at, or deleted.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from elt.catalog import ORIGIN, POSITION
from elt.concurrency import each
from elt.errors import MedallionError, Missing, SnapshotError
from elt.invocation import typed
from elt.lakehouse.ports import Bucket, Lakehouse
from elt.progress import Reporter, about
from elt.sources.identity import named_by

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Of the manifests written. 2: fingerprints cover no types, and parts keep each row's place; 1, or none: before."""

READABLE = frozenset((1, FORMAT))
MANIFEST = "_manifest.json"
FINGERPRINTS = "_fingerprints.json"
"""Beside a manifest of format 1: its tables' fingerprints as format 2 has them, found once from their parts."""

RESET = "_reset.json"
_YEAR, _MONTH = re.compile(r"[0-9]{4}"), re.compile(r"[0-9]{4}/[0-9]{2}")

MAX_PART_BYTES = 40 * 2**20
"""No part is larger: a free Supabase project refuses objects over 50 MB."""

MAX_OBJECT_BYTES = 64 * 2**20
"""No object of the pipeline's is larger, nor would the manifest of a terabyte be."""

_TIMESTAMP = "%Y%m%dT%H%M%S.%fZ"
_PART = re.compile(r"(?P<table>[\w-]+)/part-[\w-]+\.parquet")
_MARK = re.compile(r"_[^/]*\.json")
_HALF_WRITTEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}")


def is_snapshot(folder: str) -> bool:
    """Whether a snapshot's folder is called so."""
    try:
        moment = datetime.strptime(folder.rpartition("/")[2], _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return folder == _folder_of(moment) and moment.year < MAXYEAR  # the next one must have a name, too


def is_ours(path: str) -> bool:
    """Whether the object is the pipeline's: a table's part, or a manifest or mark, in a snapshot's folder.

    Marks, and whatever newer versions of the program commit by, are ``_*.json`` beside the manifest.
    """
    folder, name = _in_snapshot(path)
    return is_snapshot(folder) and bool(_PART.fullmatch(name) or _MARK.fullmatch(name))


def is_half_written(path: str) -> bool:
    """Whether the file of a folder bucket is an object of the pipeline's that is not whole yet."""
    folder, _, name = path.rpartition("/")
    found = _HALF_WRITTEN.fullmatch(name)
    return found is not None and is_ours(f"{folder}/{found['name']}")


def _in_snapshot(path: str) -> tuple[str, str]:
    """The snapshot's folder in a path, and the rest of it; whether it is one is not looked at."""
    year, _, rest = path.partition("/")
    month, _, rest = rest.partition("/")
    timestamp, _, name = rest.partition("/")
    return f"{year}/{month}/{timestamp}", name


def _table_in(path: str) -> str:
    """The table in a part's path; empty if the path is none of a part."""
    folder, name = _in_snapshot(path)
    found = _PART.fullmatch(name)
    return found["table"] if found and is_snapshot(folder) else ""


def _path_of_part(path: str) -> str:
    if not _table_in(path):
        raise ValueError(f"{path!r} is no path of a part")
    return path


class Part(BaseModel):
    """One Parquet object: where it is, and what it must hold."""

    model_config = ConfigDict(frozen=True)

    path: Annotated[str, AfterValidator(_path_of_part)]
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0, le=MAX_PART_BYTES)
    sha256: str


class Witness(BaseModel):
    """The place in the source of a row that shows something: see ``catalog.ORIGIN`` and ``POSITION``."""

    model_config = ConfigDict(frozen=True)

    origin: str | None
    position: int


class ColumnProfile(BaseModel):
    """What a whole column showed of how it is written, and where.

    ``shows``: of numbers in text ``comma`` or ``point``, the decimal separator of those that leave no doubt; of keys
    ``whole`` (all are whole numbers) or ``other``. Once known it stays, whatever a later snapshot's rows show.
    """

    model_config = ConfigDict(frozen=True)

    shows: str
    witness: Witness


class TableSnapshot(BaseModel):
    """One table of a snapshot. ``columns``: the source's columns and their types. Parts may lie in older folders.

    ``fingerprint``: of the rows, by the way of the manifest's format. ``places``: what the columns ``ORIGIN`` and
    ``POSITION`` are called in its parts; nothing if they have none. ``profile``: by the source's columns.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    columns: dict[str, str]
    fingerprint: str
    places: tuple[str, str] | tuple[()] = ()
    profile: dict[str, ColumnProfile] = Field(default_factory=dict)
    parts: tuple[Part, ...]


class Manifest(BaseModel):
    """What a snapshot holds. ``snapshot`` is its folder, and orders snapshots by time.

    ``identity``: which shop its source is; empty if the program that wrote it did not say. ``same_shop``: the other
    identities that its owner had declared the same shop.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    snapshot: str
    run: str
    created_at: datetime
    source: str
    identity: str = ""
    same_shop: tuple[str, ...] = ()
    tables: dict[str, TableSnapshot]

    @property
    def identities(self) -> tuple[str, ...]:
        """The shop's identities, as far as the manifest names them."""
        named = self.identity or named_by(self.source)
        return (named, *self.same_shop) if named else ()

    @model_validator(mode="after")
    def _fits_together(self) -> "Manifest":
        for name, table in self.tables.items():
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"{name!r} is no name of a table")
            if strange := [part.path for part in table.parts if _table_in(part.path) != name]:
                raise ValueError(f"{strange[0]} is no part of {name}")
            if (found := sum(part.rows for part in table.parts)) != table.rows:
                raise ValueError(f"{name} has {found} rows, its manifest says {table.rows}")
        return self


class _OfAnyFormat(BaseModel):
    format: int = 1


class _Fingerprints(BaseModel):
    tables: dict[str, str]


@dataclass(frozen=True)
class Known:
    """What bronze knows of the newest snapshots when it ends, so that silver of the same run need not look for them.

    ``manifests``: oldest first, with no snapshot missing between them or after them; ``complete``: nor before them.
    """

    manifests: tuple[Manifest, ...]
    complete: bool


NOTHING_KNOWN = Known((), complete=False)


def new_snapshot_id(previous: str | None, now: datetime) -> str:
    """A folder name for a snapshot made ``now``, after ``previous`` even if the clock went back in between."""
    moment = now.astimezone(UTC)
    if previous is not None:
        last = datetime.strptime(previous.rsplit("/", 1)[-1], _TIMESTAMP).replace(tzinfo=UTC)
        moment = max(moment, last + timedelta(microseconds=1))
    return _folder_of(moment)


def _folder_of(moment: datetime) -> str:
    return f"{moment:%Y/%m}/{moment.strftime(_TIMESTAMP)}"


def committed(bucket: Bucket) -> list[str]:
    """The snapshots of the lakehouse's shop that have a manifest, oldest first."""
    return committed_in(bucket.list())


def committed_in(paths: Collection[str]) -> list[str]:
    """The same, of a listing of the whole bucket: those after the last mark."""
    last_mark = max(_folders_with(paths, RESET), default="")
    return [snapshot for snapshot in _folders_with(paths, MANIFEST) if snapshot > last_mark]


def ever_committed(bucket: Bucket) -> list[str]:
    """Every snapshot that has a manifest, oldest first: those of shops before a reset too."""
    return _folders_with(bucket.list(), MANIFEST)


def _folders_with(paths: Iterable[str], name: str) -> list[str]:
    """The snapshots' folders that hold an object of that name."""
    folders = (path.removesuffix(f"/{name}") for path in paths if path.endswith(f"/{name}"))
    return [folder for folder in folders if is_snapshot(folder)]


def newest(bucket: Bucket) -> Manifest | None:
    """The newest committed snapshot of the lakehouse's shop, found without looking at the older ones."""
    for snapshot in _begun(bucket):
        with suppress(Missing):
            return read_manifest(bucket, snapshot)
        if f"{snapshot}/{RESET}" in bucket.list(f"{snapshot}/{RESET}"):
            return None
    return None


def write_reset(bucket: Bucket, run: str, now: datetime) -> str:
    """Leave the mark after everything there is; answers its folder."""
    folder = new_snapshot_id(last_folder(bucket), now)
    content = json.dumps({"reset_at": now.isoformat(), "run": run}, indent=2)
    bucket.put(f"{folder}/{RESET}", content.encode())
    return folder


def last_folder(bucket: Bucket) -> str | None:
    """The newest folder of a snapshot or mark, committed or not: what is made next comes after it."""
    return next(_begun(bucket), None)


def committed_since(bucket: Bucket, snapshot: str | None, known: Known) -> list[str]:
    """The committed snapshots from this one on, oldest first; all of them if it is None or not there any more.

    Found without looking at the older ones, and in the bucket only if they are not ``known``.
    """
    names = [manifest.snapshot for manifest in known.manifests]
    if snapshot in names:
        return names[names.index(snapshot) :]
    if snapshot is None or known.complete:
        return names if known.complete else committed(bucket)
    found = []
    for name in _begun(bucket):
        if name < snapshot:
            break
        objects = bucket.list(f"{name}/_")
        if f"{name}/{RESET}" in objects:
            break
        if f"{name}/{MANIFEST}" in objects:
            found.append(name)
        if name == snapshot:
            break
    return found[::-1] or committed(bucket)


def _begun(bucket: Bucket) -> Iterator[str]:
    """The folders of snapshots, committed or not, the newest first."""
    for year in filter(_YEAR.fullmatch, bucket.folders()):
        for month in filter(_MONTH.fullmatch, bucket.folders(year)):
            yield from filter(is_snapshot, bucket.folders(month))


@dataclass(frozen=True)
class Contents:
    """What the bucket holds by its manifests alone: no object is listed, and what dead runs left is not in it.

    ``manifests``: oldest first, those of shops before a reset too. ``unreadable``: snapshots whose manifest this
    version cannot read; what only they need is not counted. ``last_mark``: the folder of the last reset's mark.
    """

    manifests: tuple[Manifest, ...]
    unreadable: tuple[str, ...] = ()
    last_mark: str = ""

    @property
    def ever_committed(self) -> list[str]:
        """Every committed snapshot, oldest first."""
        return sorted([*(manifest.snapshot for manifest in self.manifests), *self.unreadable])

    @property
    def committed(self) -> list[str]:
        """Those of the lakehouse's shop."""
        return [snapshot for snapshot in self.ever_committed if snapshot > self.last_mark]

    @property
    def parts(self) -> dict[str, int]:
        """The bytes of each part, by its path."""
        return {part.path: part.bytes for manifest in self.manifests for part in parts_of(manifest)}

    @property
    def bytes(self) -> int:
        """The bytes of all parts, each counted once; the manifests' own few kilobytes are not."""
        return sum(self.parts.values())


def contents(bucket: Bucket) -> Contents:
    """What there is in the bucket; every manifest is read, as many at a time as the bucket takes."""
    folders = [year for year in bucket.folders() if _YEAR.fullmatch(year)]
    for is_one_of in (_MONTH.fullmatch, is_snapshot):
        deeper = each(lambda folder: list(bucket.folders(folder)), folders, bucket.in_flight)
        folders = [name for names in deeper for name in names if is_one_of(name)]
    unreadable, marks = list[str](), [""]

    def read(folder: str) -> Manifest | None:
        try:
            return read_manifest(bucket, folder)
        except SnapshotError:
            unreadable.append(folder)
        except Missing:  # a mark, or begun by a run that died
            if f"{folder}/{RESET}" in bucket.list(f"{folder}/{RESET}"):
                marks.append(folder)
        return None

    found = [manifest for manifest in each(read, sorted(folders), bucket.in_flight) if manifest is not None]
    return Contents(tuple(found), tuple(sorted(unreadable)), max(marks))


def require_room(lakehouse: Lakehouse, more: int, reporter: Reporter) -> None:
    """Nothing, if so many bytes may be stored; else ``Full``. Says so where the bucket would be nearly full."""
    if lakehouse.quota is None:
        return
    held = contents(lakehouse.bucket).bytes
    lakehouse.quota.require(held, more)
    if warning := lakehouse.quota.warning(held + more):
        with about(level="warning"):
            reporter.say(typed(f"warning: with this, {warning}"))


def leftovers(bucket: Bucket, without: Collection[str] = ()) -> list[str]:
    """The pipeline's objects that no committed snapshot needs; ``without``: as if these snapshots were not committed.

    A part in a folder without a manifest may still be needed: a later snapshot in which its table did not change points
    at it. So every manifest is read, and one that cannot be read is an error rather than a guess; so is a folder that
    is committed by something this version does not know. Manifests and marks go only with a snapshot ``without``.
    """
    paths = bucket.list()
    kept = [snapshot for snapshot in _folders_with(paths, MANIFEST) if snapshot not in without]
    needed = {part.path for snapshot in kept for part in parts_of(read_manifest(bucket, snapshot))}
    folders = {*kept, *_folders_with(paths, RESET)}
    found = []
    for path in filter(is_ours, paths):
        folder, name = _in_snapshot(path)
        if folder in folders or path in needed:
            continue
        if folder not in without and _MARK.fullmatch(name):
            raise SnapshotError(
                f"this version of the program does not know what {path} is for, nor which objects it needs",
                kept="nothing was removed",
                next_step="run the version that wrote it, or a newer one; if no program did, move it elsewhere",
            )
        found.append(path)
    return found


def of_others(paths: Iterable[str]) -> list[str]:
    """Those of the objects that are not the pipeline's."""
    return [path for path in paths if not is_ours(path)]


def find(bucket: Bucket, name: str) -> str:
    """The committed snapshot of that name: its folder, or the last part of it. ``Missing`` if there is none."""
    known = committed(bucket)
    for snapshot in ever_committed(bucket):
        if name.strip("/") in (snapshot, snapshot.rsplit("/", 1)[-1]):
            if snapshot in known:
                return snapshot
            raise SnapshotError(
                f"the snapshot {snapshot} is another shop's: the lakehouse was reset after it",
                kept="nothing was changed",
                next_step="medallion snapshots lists those of this shop",
            )
    raise Missing(
        f"bronze has no snapshot {name}" + (f"; it has {len(known)}, the newest is {known[-1]}" if known else ""),
        kept="nothing was changed",
        next_step="medallion snapshots lists them",
    )


def prunable(known: Sequence[str], keep: int, applied: str | None) -> list[str]:
    """Those of the snapshots (oldest first) that neither the newest ``keep`` are nor silver needs.

    Silver needs the snapshot it applied last, to find what changed since, and those it has not applied yet.
    """
    return [snapshot for snapshot in known[:-keep] if applied is not None and snapshot < applied]


def parts_of(manifest: Manifest) -> list[Part]:
    """Every part of the snapshot, wherever it lies."""
    return [part for table in manifest.tables.values() for part in table.parts]


def read_manifest(bucket: Bucket, snapshot: str) -> Manifest:
    """The snapshot's manifest, whole in itself and within the layout. ``SnapshotError`` if this version reads no such.

    Every path in it is one of a part, so that nobody who follows it leaves the bucket or meets other people's objects.
    """
    path = f"{snapshot}/{MANIFEST}"
    content = bucket.get(path)
    try:
        if (found := _OfAnyFormat.model_validate_json(content).format) not in READABLE:
            raise SnapshotError(
                f"the manifest {path} has format {found}; this version reads 1 to {FORMAT}",
                next_step="run the version of the program that wrote it, or a newer one",
            )
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        raise _unreadable(path, f"{where}: {problem['msg'].removeprefix('Value error, ')}") from None
    if manifest.snapshot != snapshot:
        raise _unreadable(path, f"snapshot: it is the manifest of {manifest.snapshot!r}")
    return manifest


def _unreadable(path: str, why: str) -> SnapshotError:
    return SnapshotError(
        f"the manifest {path} is not readable: {why}",
        next_step=f"delete that object ({_NOT_THE_FOLDER}), then put it back from a backup: medallion restore FOLDER; "
        "without a backup the next run does without that snapshot",
    )


_NOT_THE_FOLDER = "not its folder: other snapshots may point at its parts"


def write_manifest(bucket: Bucket, manifest: Manifest) -> None:
    """Commit a snapshot whose parts are all stored."""
    content = manifest.model_dump_json(indent=2).encode()
    bucket.put(f"{manifest.snapshot}/{MANIFEST}", content)


def fingerprints(bucket: Bucket, manifest: Manifest, find: Callable[[str, TableSnapshot], str]) -> dict[str, str]:
    """The tables' fingerprints as this format has them. Of a manifest of before, ``find`` finds them by name, once.

    What it found stands beside the manifest, which is not written again. A note that is not readable is none.
    """
    if manifest.format == FORMAT:
        return {name: table.fingerprint for name, table in manifest.tables.items()}
    path = f"{manifest.snapshot}/{FINGERPRINTS}"
    noted = path in bucket.list(path)
    if noted:
        with suppress(ValidationError):
            return _Fingerprints.model_validate_json(bucket.get(path)).tables
    found = {name: find(name, table) for name, table in manifest.tables.items()}
    if not noted:
        bucket.put(path, _Fingerprints(tables=found).model_dump_json(indent=2).encode())
    return found


def read_rows(bucket: Bucket, table: TableSnapshot, columns: Sequence[str], rows: int) -> "Iterator[pa.Table]":
    """The table's rows in the order of the snapshot: only ``columns``, all text but for ``catalog.POSITION``.

    At most ``rows`` at a time, and no more than a part's group of rows, which ends by its bytes. Each part is checked
    against its manifest before a row of it is used. ``columns`` that a part does not have come as NULL, the places of
    rows among them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in table.parts:
        file = pq.ParquetFile(pa.BufferReader(checked(bucket, part)))
        stored = dict(zip((ORIGIN, POSITION), table.places, strict=False))
        names = {name: stored.get(name, name) for name in columns}
        present = [name for name in names.values() if name in file.schema_arrow.names]
        schema = pa.schema([(name, pa.int64() if name == POSITION else pa.string()) for name in columns])
        for group in range(file.num_row_groups):  # one at a time: batches would reach over their ends
            for batch in file.iter_batches(batch_size=rows, columns=present, row_groups=[group]):
                found = pa.Table.from_batches([batch])
                arrays = [
                    found[names[field.name]] if names[field.name] in present else pa.nulls(len(found), field.type)
                    for field in schema
                ]
                yield pa.table(arrays, schema=schema)


def checked(bucket: Bucket, part: Part) -> bytes:
    """The part's bytes, if they are those the manifest promised, with as many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = bucket.get(part.path)
    except Missing:
        raise _lies(bucket, part, "it is not in the bucket") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != part.sha256:
        raise _lies(bucket, part, f"its sha256 is {digest}, its manifest says {part.sha256}")
    try:
        rows = pq.ParquetFile(pa.BufferReader(content)).metadata.num_rows
    except pa.ArrowException as error:
        raise _lies(bucket, part, f"it is no Parquet file: {error}") from error
    if rows != part.rows:
        raise _lies(bucket, part, f"it has {rows} rows, its manifest says {part.rows}")
    return content


def check_parts(bucket: Bucket, manifest: Manifest, reporter: Reporter) -> None:
    """Nothing, if every part of the snapshot is what its manifest says; else ``SnapshotError``."""
    parts = parts_of(manifest)
    with reporter.task(f"checking {manifest.snapshot}", sum(part.rows for part in parts)) as task:
        for part in parts:
            checked(bucket, part)
            task.advance(part.rows)


def copy(source: Bucket, target: Bucket, reporter: Reporter) -> list[str]:
    """Copy the committed snapshots that ``target`` lacks, and parts it has lost; answers the names of those snapshots.

    Each part is checked on the way. A snapshot's manifest comes last, so that a copy that dies is taken up again by the
    next one. Marks come first: no snapshot before one is ever taken for the shop's in ``target``.
    """
    here, there = source.list(), set(target.list())
    for folder in _folders_with(here, RESET):
        if (mark := f"{folder}/{RESET}") not in there:
            target.put(mark, source.get(mark))
    copied = []
    for snapshot in sorted(_folders_with(here, MANIFEST), key=lambda name: f"{name}/{MANIFEST}" in there):
        path = f"{snapshot}/{MANIFEST}"
        manifest = read_manifest(source, snapshot)
        parts = [part for part in parts_of(manifest) if part.path not in there]
        if path in there and not parts:
            continue
        with reporter.task(f"copying {snapshot}", sum(part.rows for part in parts)) as task:
            for part in parts:
                target.put(part.path, checked(source, part))
                there.add(part.path)
                task.advance(part.rows)
        if path not in there:
            target.put(path, source.get(path))
        copied.append(snapshot)
    return copied


def _lies(bucket: Bucket, part: Part, why: str) -> SnapshotError:
    """The error for a part that is not as promised, with the ways on: with a backup, and without."""
    return SnapshotError(
        f"the bronze object {part.path} is not what its manifest says: {why}",
        next_step="put it back from a backup: delete that object if it is there, then: medallion restore FOLDER; "
        f"without a backup do without the snapshots that hold it: delete {_manifests_with(bucket, part)} "
        f"({_NOT_THE_FOLDER}), then run again",
    )


def _manifests_with(bucket: Bucket, part: Part) -> str:
    """The manifests that point at the part, for people: a part belongs to its snapshot and to those next after it."""
    found = []
    with suppress(MedallionError):
        for snapshot in ever_committed(bucket):
            with suppress(SnapshotError):
                if part in parts_of(read_manifest(bucket, snapshot)):
                    found.append(snapshot)
    if len(found) > 3:
        return f"the {MANIFEST} of the {len(found)} snapshots from {found[0]} to {found[-1]}"
    return " and ".join(f"{snapshot}/{MANIFEST}" for snapshot in found) or f"every {MANIFEST} that names it"
