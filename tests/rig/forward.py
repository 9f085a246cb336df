"""Listens on a port of 127.0.0.1, and gives each connection a `kubectl port-forward` of its own to a service in the namespace rig.

One for all connections ends with the first that a server resets, as PostgreSQL does at the end of a TLS session, and takes
the others along (kubernetes/kubectl#1169). Usage: forward.py SERVICE LOCAL-PORT PORT
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import suppress

CHUNK = 64 * 1024


async def carry(service: str, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, from its beginning to its end."""
    kubectl = await asyncio.create_subprocess_exec(
        "kubectl", "-n", "rig", "port-forward", f"service/{service}", f":{port}", stdout=asyncio.subprocess.PIPE
    )
    try:
        said = await kubectl.stdout.readline() if kubectl.stdout else b""
        forwarded = re.match(rb"Forwarding from 127\.0\.0\.1:(\d+) ", said)
        if forwarded is None:
            print(f"kubectl port-forward to {service}:{port} did not begin: {said!r}", flush=True)
            return
        back, forth = await asyncio.open_connection("127.0.0.1", int(forwarded[1]))
        sending = asyncio.create_task(copy(reader, forth))
        await copy(back, writer)
        sending.cancel()
    finally:
        writer.close()
        with suppress(ProcessLookupError):
            kubectl.kill()
        await kubectl.wait()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end; a connection that breaks has ended."""
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def main(service: str, local_port: str, port: str) -> None:
    """Until told to stop."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.start_server(
        lambda reader, writer: carry(service, port, reader, writer), "127.0.0.1", int(local_port)
    )
    await stopped.wait()
    server.close()  # asyncio.run cancels what is still being carried, which ends its kubectl


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
