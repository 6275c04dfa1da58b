"""Columns as Arrow holds them.

In: columns and their values. Out: Arrow schemas, batches, and the bytes of an Arrow stream. The one module of the
package that needs pyarrow; `available()` says whether it is there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from . import types as t
from .types import Column, Type

#: Field metadata that the worker knows: a type that is held as text, and a text of which no value was seen.
PHYSICAL, UNTYPED = b"millrace.physicalType", b"millrace.untyped"


@cache
def available() -> bool:
    """Whether pyarrow can be imported, without importing it."""
    return importlib.util.find_spec("pyarrow") is not None


def type_of(type_: Type) -> Any:
    """The Arrow type."""
    import pyarrow as pa

    match type_.kind:
        case "bool":
            return pa.bool_()
        case "int" | "uint" | "float":
            return getattr(pa, f"{type_.kind}{type_.bits}")()
        case "decimal":
            make = pa.decimal128 if type_.precision <= 38 else pa.decimal256
            return make(type_.precision, type_.scale)
        case "bytes":
            return pa.binary() if type_.size is None else pa.binary(type_.size)
        case "date":
            return pa.date32()
        case "time":
            return pa.time64(type_.unit) if type_.unit in ("us", "ns") else pa.time32(type_.unit)
        case "timestamp":
            return pa.timestamp(type_.unit, "UTC" if type_.zoned else None)
        case "duration":
            return pa.duration(type_.unit)
        case "list":
            assert type_.item is not None
            return pa.list_(field_of(Column("item", type_.item)))
        case "struct":
            return pa.struct([field_of(field) for field in type_.fields])
        case "map":
            key, value = type_.fields
            return pa.map_(type_of(key.type), field_of(value))
        case _:
            return pa.string()


def field_of(column: Column) -> Any:
    """The Arrow field, with what the worker has to know besides."""
    import pyarrow as pa

    metadata = None
    if column.type.kind in ("json", "uuid"):
        metadata = {PHYSICAL: column.type.kind.encode()}
    elif column.type.kind == "null":
        metadata = {UNTYPED: b""}
    # A required column is declared so to the worker, which refuses nulls row by row; a batch may hold them.
    return pa.field(column.name, type_of(column.type), True, metadata)


def schema_of(columns: Iterable[Column]) -> Any:
    """The Arrow schema."""
    import pyarrow as pa

    return pa.schema([field_of(column) for column in columns])


def array(type_: Type, values: Sequence[Any]) -> Any:
    """A column's values; raises what pyarrow raises where one is out of range."""
    import pyarrow as pa

    return pa.array(values, type=type_of(type_))


def joined(arrays: Sequence[Any]) -> Any:
    """Pieces of a column as one."""
    import pyarrow as pa

    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def holds(type_: Type, value: Any) -> bool:
    """Whether Arrow can hold one value that looked right."""
    try:
        array(type_, [value])
    except Exception:
        return False
    return True


def batch(columns: Sequence[Column], arrays: Sequence[Any], rows: int) -> Any:
    """A record batch; one without columns still counts its rows."""
    import pyarrow as pa

    if columns:
        return pa.RecordBatch.from_arrays(list(arrays), schema=schema_of(columns))
    empty: Any = pa.array([{}] * rows, pa.struct([]))
    return pa.RecordBatch.from_struct_array(empty)


def stream_bytes(schema: Any, batches: Iterable[Any] = ()) -> bytes:
    """An Arrow stream."""
    return b"".join(stream_pieces(schema, batches))


def stream_pieces(schema: Any, batches: Iterable[Any] = ()) -> list[memoryview]:
    """An Arrow stream in pieces. The columns are not copied: who writes them must be done before they change."""
    import pyarrow as pa

    pieces = _Pieces()
    with pa.ipc.new_stream(pieces, schema) as writer:
        for one in batches:
            writer.write_batch(one)
    return pieces.found


class _Pieces:
    """A file that keeps what is written to it as it is given."""

    closed = False

    def __init__(self) -> None:
        self.found: list[memoryview] = []

    def write(self, piece: Any) -> int:
        if len(piece):
            self.found.append(memoryview(piece).cast("B"))
        return len(piece)

    def flush(self) -> None:
        """Everything is there already."""


def read_stream(body: bytes) -> tuple[Any, list[Any]]:
    """The schema and the batches of an Arrow stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.BufferReader(body)) as reader:
        return reader.schema, list(reader)


def is_arrow(data: Any) -> bool:
    """Whether data comes as Arrow: a table, a batch, a reader, or anything with the Arrow stream interface."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def batches(data: Any, most_rows: int) -> Iterator[Any]:
    """Arrow data as record batches of at most so many rows; nothing is copied where it is Arrow's own."""
    import pyarrow as pa

    if isinstance(data, pa.RecordBatch) or not hasattr(data, "__arrow_c_stream__"):
        source: Iterable[Any] = [data if isinstance(data, pa.RecordBatch) else pa.record_batch(data)]
    elif isinstance(data, pa.Table):
        source = data.to_batches(max_chunksize=most_rows)
    else:
        source = data if isinstance(data, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(data)
    for one in source:
        for start in range(0, max(one.num_rows, 1), most_rows):
            yield one if one.num_rows <= most_rows else one.slice(start, most_rows)


def column_of(field: Any) -> Column:
    """What is known of an Arrow field, as a column; types that have no name here are text."""
    metadata = field.metadata or {}
    form = metadata.get(PHYSICAL, b"").decode()
    if form in ("json", "uuid"):
        return Column(field.name, Type(form), not field.nullable)
    return Column(field.name, from_arrow(field.type), not field.nullable)


def from_arrow(type_: Any) -> Type:
    """The type that an Arrow type stands for."""
    from pyarrow import types as pt

    if pt.is_dictionary(type_):
        return from_arrow(type_.value_type)
    if pt.is_integer(type_):
        return Type("int" if pt.is_signed_integer(type_) else "uint", bits=type_.bit_width)
    if pt.is_floating(type_):
        return Type("float", bits=64 if type_.bit_width == 64 else 32)
    if pt.is_decimal(type_):
        return Type("decimal", precision=type_.precision, scale=type_.scale)
    if pt.is_timestamp(type_):
        return Type("timestamp", unit=type_.unit, zoned=type_.tz is not None)
    if pt.is_time(type_) or pt.is_duration(type_):
        return Type("time" if pt.is_time(type_) else "duration", unit=type_.unit)
    if pt.is_struct(type_):
        return t.struct_of(tuple(column_of(type_.field(at)) for at in range(type_.num_fields)))
    if pt.is_map(type_):
        return Type("map", fields=(column_of(type_.key_field), column_of(type_.item_field)))
    if pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_):
        return t.list_of(column_of(type_.value_field).type)
    if pt.is_fixed_size_binary(type_):
        return Type("bytes", size=type_.byte_width)
    if pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_):
        return t.BYTES
    if pt.is_boolean(type_):
        return t.BOOL
    return t.DATE if pt.is_date(type_) else t.TEXT
