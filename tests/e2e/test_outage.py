"""The S3 server is gone for 20 seconds under load: clients wait, none sees an error, memory is bounded."""

import threading
import time

import clients
from harness import MIB, limit, on
from writer import Writer

CACHE, WRITE_BUFFER, INLINE_BUFFER = 64, 64, 32
OUTAGE_S = 20


@limit(240)
@on("rgw", "minio")
def test_clients_wait(case):
    store = case.new_store(private=True)
    server = case.server("--cache-size", f"{CACHE}M", "--write-buffer", f"{WRITE_BUFFER}M",
                         "--inline-buffer", f"{INLINE_BUFFER}M", store=store, auto_create="256M")
    writers = [(f"disk{n}", Writer(n, 256 * MIB, n)) for n in (1, 2)]
    for name, writer in writers:
        writer.open(server.uri(name))

    def load(seconds):
        end = time.monotonic() + seconds
        before = sum(len(writer.history.operations) for _, writer in writers)
        while time.monotonic() < end:
            for _, writer in writers:
                writer.step()
        return sum(len(writer.history.operations) for _, writer in writers) - before

    load(3)
    store.daemon.stop(kill=True)
    during = load(OUTAGE_S)
    store.daemon.start()
    after = load(5)
    assert after > 0, "nothing was answered after the outage"
    most = server.memory("VmHWM")
    for _, writer in writers:
        writer.finish()
        writer.close()
    for name, writer in writers:
        writer.verify(server.uri(name))
    server.restart()
    for name, writer in writers:
        writer.verify(server.uri(name))
    bound = (CACHE + WRITE_BUFFER + INLINE_BUFFER + 64) * MIB
    if not case.sanitized:
        assert most <= bound, f"{most / MIB:.0f} MiB resident, at most {bound / MIB:.0f}"
    return f"{during} changes sent during the outage, {after} after it, {most / MIB:.0f} MiB at most"


@limit(120)
@on("minio", "rgw")
def test_who_connects_in_an_outage_waits(case):
    """Longer than any command waits for a store; a client that goes away meanwhile leaves nothing behind."""
    store = case.new_store(private=True)
    server = case.server(store=store, auto_create="16M")
    with clients.connect(server.uri("disk")) as handle:
        handle.pwrite(b"x" * 4096, 0)
    store.daemon.stop(kill=True)
    read = []

    def connect():
        with clients.connect(server.uri("disk")) as handle:
            read.append(bytes(handle.pread(4096, 0)))

    waiting = threading.Thread(target=connect, daemon=True)
    begun = time.monotonic()
    waiting.start()
    waiting.join(20)
    assert waiting.is_alive() and not read, "answered without a store"
    store.daemon.start()
    waiting.join(60)
    assert read == [b"x" * 4096], read
    return f"answered after {time.monotonic() - begun:.0f} s, 20 of them without a store"
