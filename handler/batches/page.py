"""A page of a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from handler.storage.entries import FILES_AT_ONCE, in_threads

Item = TypeVar("Item")
MAX_CHUNK = 64  # that are read before it is seen how many of them are in the page
MAX_READS = 1_000  # for a page: S3 takes about two seconds for as many


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list, and whether there are more after them."""

    items: Sequence[Item]
    has_more: bool


def read_page(ids: Sequence[str], read: Callable[[str], Item | None], limit: int) -> Page[Item]:
    """Read the first items of a list, but for those that turn out to be None.

    A page may have fewer items than the limit although there are more, but is never empty then: clients end there.
    """
    found: list[Item] = []
    done = 0
    while done < len(ids) and len(found) < limit and not (found and done >= MAX_READS):
        chunk = ids[done : done + min(MAX_CHUNK, max(FILES_AT_ONCE, limit - len(found)))]
        for item in in_threads(read, chunk):
            done += 1
            if item is not None:
                found.append(item)
            if len(found) == limit:
                break
    return Page(found, has_more=done < len(ids))
