"""The footer of a Parquet file, read by itself: what each column declares, before Arrow decodes anything.

Arrow ends the process where it is asked for the columns of some damaged footers, so they are read from the bytes
here. The format is Thrift's compact protocol, the numbers of the fields are those of `parquet.thrift`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = ["Column", "read_columns"]

_MOST_BYTES = 64 << 20
"""Of a footer."""

_MOST_DEPTH = 16
"""Structs and lists inside each other; Parquet's have 7."""

_MAGIC = b"PAR1"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_NUMBERS = (4, 5, 6)
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""Bytes of a decoded value, by the number of the physical type; BYTE_ARRAY (6) has none."""

_DICTIONARY_ENCODINGS = {2, 8}


@dataclass(frozen=True)
class Column:
    """A column of a row group.

    Attributes:
        path: its name in the schema, with dots.
        values: that it declares, those of nested lists counted one by one.
        size: bytes of its pages before compression.
        width: bytes of a value; None where each has its own.
        has_dictionary: whether values may stand once and be named many times.
    """

    path: str
    values: int
    size: int
    width: int | None
    has_dictionary: bool


def read_columns(stream: BinaryIO) -> list[Column]:
    """The columns of all row groups.

    Raises:
        ValueError: it is not the footer of a Parquet file.
    """
    size = stream.seek(0, 2)
    if size < 12:
        raise ValueError("it is too short for a Parquet file")
    stream.seek(size - 8)
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > min(size - 8, _MOST_BYTES):
        raise ValueError("it does not end as a Parquet file")
    stream.seek(size - 8 - length)
    try:
        footer = _Reader(stream.read(length)).struct(0)
        leaves = [element for element in footer[2] if 1 in element]
        chunks = [(leaves[place], chunk) for group in footer[4] for place, chunk in enumerate(group[1])]
        return [_column(leaf, chunk[3]) for leaf, chunk in chunks]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"its footer is damaged ({type(error).__name__})") from error


def _column(leaf: dict[int, Any], described: dict[int, Any]) -> Column:
    values, size = described[5], described[6]
    if values < 0 or size < 0:
        raise ValueError("its footer declares a negative size")
    width = leaf.get(2, 0) if leaf[1] == 7 else _WIDTHS.get(leaf[1])
    path = ".".join(part.decode("utf-8", "replace") for part in described[3])
    has_dictionary = 11 in described or bool(_DICTIONARY_ENCODINGS & set(described[2]))
    return Column(path, values, size, width, has_dictionary)


class _Reader:
    """Values of Thrift's compact protocol: structs as dicts by field number."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MOST_DEPTH:
            raise ValueError("its footer is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._number()
            fields[number] = self._value(head & 15, depth + 1, inline=True)
        return fields

    def _value(self, kind: int, depth: int, *, inline: bool = False) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE if inline else self._byte() == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in _NUMBERS:
            return self._number()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._expect(count)
            return [self._value(head & 15, depth) for _ in range(count)]
        if kind == _MAP:
            count = self._varint()
            self._expect(count)
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4, depth), self._value(kinds & 15, depth)) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(depth)
        raise ValueError(f"its footer has a field of the unknown type {kind}")

    def _expect(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise ValueError("its footer declares more entries than it has bytes")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) < count:
            raise ValueError("its footer ends too early")
        self._at += count
        return data

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its footer has a number of more than 64 bits")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
