"""The workloads with Python's asyncio.

rival.py LOOP WORK PORT CONNECTIONS SIZE WARMUP MEASURED

Does WORK on each of the CONNECTIONS for ever, and prints what it did in MEASURED seconds after WARMUP as JSON.
"""

import asyncio
import json
import os
import sys
import time

loop, work, port, connections, size, warm_up, measured = sys.argv[1:]
port, connections, size = int(port), int(connections), int(size)
count = 0


async def bulk(reader, writer):
    global count
    while True:
        count += len(await reader.read(65536))


async def lines_bytes(reader, writer):
    global count
    while True:
        assert len(await reader.readline()) == size
        count += 1


async def lines_text(reader, writer):
    global count
    while True:
        assert len((await reader.readline()).decode()) == size
        count += 1


async def until(reader, writer):
    global count
    while True:
        assert len(await reader.readuntil(b"\r\n\r\n")) == size
        count += 1


async def frames(reader, writer):
    global count
    while True:
        length = int.from_bytes(await reader.readexactly(4), "big")
        assert len(await reader.readexactly(length)) == size
        count += 1


async def echo(reader, writer):
    global count
    message = b"x" * size
    while True:
        writer.write(message)
        await writer.drain()
        await reader.readexactly(size)
        count += 1


async def write(reader, writer):
    global count
    message = b"x" * size
    while True:
        writer.write(message)
        await writer.drain()
        count += 1
        # As beside it: where the peer takes everything at once, the loop would never turn.
        if count % 256 == 0:
            await asyncio.sleep(0)


def cpu():
    return sum(os.times()[:2])


async def use(seconds):
    """Until so much CPU time has been used, or four times that has gone by."""
    start, end = cpu(), time.monotonic() + 4 * seconds
    await asyncio.sleep(seconds)
    while cpu() - start < seconds and time.monotonic() < end:
        await asyncio.sleep(0.02)


async def main():
    async def one():
        await globals()[work](*await asyncio.open_connection("127.0.0.1", port))

    tasks = [asyncio.create_task(one()) for _ in range(connections)]
    await use(float(warm_up))
    before, cpu_before, start = count, cpu(), time.monotonic()
    await use(float(measured))
    seconds, used, done = time.monotonic() - start, cpu() - cpu_before, count - before
    for task in tasks:
        if task.done():
            task.result()
    print(json.dumps({"value": done / seconds, "byCpu": done / used, "busy": used / seconds}), flush=True)
    os._exit(0)


if loop == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main())
