"""How large each part of a multipart upload is, when nobody knows how long the stream will be.

S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html (10,000 parts, 5 MiB to 5 GiB each but for
the last, 5 TiB in all).
"""

from __future__ import annotations

from resguardo.api.sizes import print_size

#: Hashes are taken for each block of stored bytes, so that a reader needs no more memory than this, whatever the parts.
BLOCK_BYTES = 8 * 1024 * 1024
PART_MAX_BYTES = 5 * 1024**3
PARTS_MAX = 10_000
OBJECT_MAX_BYTES = 5 * 1024**4

#: Parts of one size before the next size begins: 1,000 x 8 MiB x (1 + 2 + … + 512) is 7.8 TiB.
PARTS_OF_ONE_SIZE = 1_000
BUFFER_BYTES = 64 * 1024 * 1024


def part_bytes(number: int) -> int:
    """The size of a part, numbered from 1: whole blocks; 8 MiB for the first 1,000 parts, doubled every 1,000.

    >>> [part_bytes(number) // BLOCK_BYTES for number in (1, 1000, 1001, 10_000)]
    [1, 1, 2, 512]

    Raises ValueError for a number that S3 does not know.
    """
    if not 1 <= number <= PARTS_MAX:
        raise ValueError(
            f"part {number} is not between 1 and {PARTS_MAX}, so the object would exceed the store's limit"
        )
    return BLOCK_BYTES << ((number - 1) // PARTS_OF_ONE_SIZE)


def parts_in_memory(size_bytes: int) -> int:
    """How many parts of a size may be held at once, the one being filled included.

    As many as 64 MiB hold while parts are small; two when they are large, so that one is filled while one is sent.

    >>> [parts_in_memory(part_bytes(number)) for number in (1, 1001, 2001, 3001)]
    [8, 4, 2, 2]
    """
    return max(2, BUFFER_BYTES // size_bytes)


def blocks_of(size_bytes: int, block_bytes: int = BLOCK_BYTES) -> int:
    """How many blocks an object of that size has; the last may be shorter, and none has none.

    >>> [blocks_of(size) for size in (0, 1, BLOCK_BYTES, BLOCK_BYTES + 1)]
    [0, 1, 1, 2]
    """
    return -(-size_bytes // block_bytes)


def check_object_size(size_bytes: int) -> None:
    """Raise ValueError for an object that no S3 store would take."""
    if size_bytes > OBJECT_MAX_BYTES:
        raise ValueError(f"{size_bytes} bytes are more than the {print_size(OBJECT_MAX_BYTES)} of one object")
