"""Goes through what a plugin yields, in whatever way it does.

In: a list, a generator, an async generator, or an awaitable of one of them. Out: its items, one after another. An
async generator runs in an event loop of its own, and is closed properly, also when the reading ends early.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Generator
from typing import Any


def items(given: Any) -> Generator[Any, None, None]:
    """The items of what a method of a plugin gave."""
    if inspect.isawaitable(given) or hasattr(given, "__aiter__"):
        yield from _async_items(given)
    elif given is None:
        return
    elif hasattr(given, "__iter__"):
        yield from given
    else:
        raise TypeError(f"a generator or a list of batches belongs here, not {type(given).__name__}")


def result(given: Any) -> Any:
    """The result of a method that may be `async`."""
    return asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given


async def _awaited(given: Any) -> Any:
    return await given


def _async_items(given: Any) -> Generator[Any, None, None]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    source: Any = None
    try:
        if inspect.isawaitable(given):
            given = loop.run_until_complete(_awaited(given))
        if not hasattr(given, "__aiter__"):
            yield from items(given)
            return
        source = given.__aiter__()
        while True:
            try:
                item = loop.run_until_complete(_next(source))
            except StopAsyncIteration:
                return
            yield item
    finally:
        _close(loop, source)


async def _next(source: AsyncIterator[Any]) -> Any:
    return await source.__anext__()


def _close(loop: asyncio.AbstractEventLoop, source: Any) -> None:
    try:
        if source is not None and hasattr(source, "aclose"):
            loop.run_until_complete(source.aclose())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(Exception):
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
