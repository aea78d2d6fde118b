"""Rows in bulk: Arrow tables in and out of PostgreSQL through COPY, with numbers as people write them."""

import io
from collections.abc import Iterator, Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
from psycopg import sql

from elt.catalog import EXTRACT_BYTES

_BLOCK_BYTES = 1 << 20


def read_schema(schema: pa.Schema) -> pcsv.ConvertOptions:
    """How CSV from COPY becomes Arrow: an empty field is NULL, an empty text comes as ``""``."""
    return pcsv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
    )


def copy_out(
    connection: psycopg.Connection,
    query: sql.Composable,
    schema: pa.Schema,
    rows: int,
    most_bytes: int = EXTRACT_BYTES,
) -> Iterator[pa.Table]:
    """The query's result as Arrow tables, streamed: never the whole result in memory.

    Each has at most ``rows`` rows, and of those that make ``most_bytes`` none after the first that passes them.
    """
    statement = sql.SQL("copy ({}) to stdout (format csv)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        buffer: list[bytes] = []
        size = 0
        for line in copy:  # PostgreSQL sends one message a row
            buffer.append(bytes(line))
            size += len(line)
            if len(buffer) == rows or size >= most_bytes:
                yield _parse(buffer, schema)
                buffer, size = [], 0
        if buffer:
            yield _parse(buffer, schema)


def _parse(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    """Lines of COPY's CSV as one Arrow table."""
    longest = max(map(len, lines))  # a line must fit in a block of the reader
    return pcsv.read_csv(
        pa.BufferReader(b"".join(lines)),
        read_options=pcsv.ReadOptions(
            column_names=schema.names, use_threads=False, block_size=max(_BLOCK_BYTES, 2 * longest)
        ),
        parse_options=pcsv.ParseOptions(newlines_in_values=True),
        convert_options=read_schema(schema),
    )


def copy_in(cursor: psycopg.Cursor, target: sql.Composable, columns: Sequence[str], table: pa.Table) -> None:
    """Append the Arrow table to ``target`` in one COPY."""
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    sink = io.BytesIO()
    pcsv.write_csv(decimals_as_text(table.select(list(columns))), sink, pcsv.WriteOptions(include_header=False))
    with cursor.copy(statement) as copy:
        copy.write(sink.getbuffer())


def decimals_as_text(table: pa.Table) -> pa.Table:
    """Decimals as text with two or more decimals and no idle zeros: 168.00, 5.899. Exact, as people write money."""
    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            text = all_decimals(table.column(position).combine_chunks())
            table = table.set_column(position, field.name, pc.replace_substring_regex(text, r"(\.\d\d\d*?)0+$", r"\1"))
    return table


def all_decimals(values: pa.Array) -> pa.Array:
    """Arrow decimals as text with as many decimals as their type has."""
    text = values.cast(pa.string())
    scientific = pc.match_substring(text, "E")  # Arrow writes zero and what is very small so: 0E-20
    written = [f"{value:f}" for value in values.filter(scientific).to_pylist()]
    return pc.replace_with_mask(text, scientific, pa.array(written, pa.string()))
