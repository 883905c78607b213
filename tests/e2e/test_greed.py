"""Clients that take and do not give: memory stays within its bounds, and others are served."""

import os
import struct
import time

import clients
import raw
from harness import MIB, limit, on, quick
from raw import Raw

KIB = 1 << 10
BLOCK = 128 * KIB
DATA = 320 * MIB
SMALL = ("--cache-size", "16M", "--write-buffer", "16M", "--inline-buffer", "16M")


def requests(*wanted):
    """Many requests in one piece: (command, offset, length) each."""
    return b"".join(struct.pack(">IHHQQI", raw.REQUEST_MAGIC, 0, command, cookie, offset, length)
                    for cookie, (command, offset, length) in enumerate(wanted))


def filled(case, *options):
    """A server with the export "disk", full of data that is all different, and cold."""
    case.ashlar("create", "disk", str(DATA))
    server = case.server(*SMALL, *options)
    with clients.connect(server.uri()) as handle:
        for at in range(0, DATA, 8 * MIB):
            handle.pwrite(os.urandom(8 * MIB), at)
    server.restart()
    works(server)
    return server


def works(server):
    with clients.connect(server.uri()) as handle:
        began = time.monotonic()
        pattern = os.urandom(4096)
        handle.pwrite(pattern, MIB)
        handle.flush()
        assert handle.pread(4096, MIB) == pattern
        return time.monotonic() - began


def greedy(server, content, contexts=()):
    """A connection that sends all that and reads nothing; what the socket does not take is kept back."""
    c = Raw(server).structured()
    if contexts:
        c.set_contexts("disk", *contexts)
    assert c.go("disk")[0] == raw.REP_ACK
    c.socket.settimeout(1)
    try:
        c.socket.sendall(content)
    except TimeoutError:
        pass
    return c


def grown(case, server, before, allowed_mib):
    """How much more memory the server ever had."""
    more = (server.memory("VmHWM") - before) / MIB
    print(f"{more:.0f} MiB more")
    if not case.sanitized:
        assert more < allowed_mib, f"{more:.0f} MiB more, not {allowed_mib}"
    return f"{more:.0f} MiB more"


@quick
@limit(240)
@on("dir")
def test_large_replies_unread(case):
    """Forty clients ask for 8 MiB each, all of it different, and fetch nothing."""
    server = filled(case)
    before = server.memory()
    held = [greedy(server, requests((raw.READ, n * 8 * MIB, 8 * MIB))) for n in range(40)]
    time.sleep(1)
    works(server)
    note = grown(case, server, before, 160)
    for n, c in enumerate(held):  # those who fetch after all get all of it
        c.socket.settimeout(60)
        assert sum(len(data) - 8 for kind, data in c.chunks(0) if kind == raw.CHUNK_DATA) == 8 * MIB, n
    return note


@quick
@limit(240)
@on("dir")
def test_single_bytes_unread(case):
    """One byte of every block, again and again: what waits to be sent does not hold the blocks."""
    server = filled(case)
    before = server.memory()
    held = greedy(server, requests(*((raw.READ, n * BLOCK % DATA, 1) for n in range(3 * DATA // BLOCK))))
    time.sleep(2)
    works(server)
    note = grown(case, server, before, 100)
    held.socket.settimeout(60)
    held.chunk()
    return note


@quick
@limit(240)
@on("dir")
def test_block_status_unread(case):
    case.ashlar("create", "disk", str(DATA))
    server = case.server(*SMALL)
    works(server)
    before = server.memory()
    content = requests(*((raw.BLOCK_STATUS, 0, MIB) for _ in range(40000)))
    held = [greedy(server, content, ["base:allocation"]) for _ in range(4)]
    works(server)
    assert len(held) == 4
    return grown(case, server, before, 40)


@quick
@limit(240)
@on("dir")
def test_small_trims(case):
    """Trims and zeroes of one byte each, all over: they are changes that take memory, and wait for it."""
    case.ashlar("create", "disk", str(DATA))
    server = case.server(*SMALL, "--flush-interval", "1h")
    works(server)
    before = server.memory()
    c = Raw(server)
    assert c.go("disk")[0] == raw.REP_ACK
    count = 200000
    for start in range(0, count, 1000):
        c.send(requests(*((raw.TRIM if n % 2 else raw.WRITE_ZEROES, n * 1500, 1)
                          for n in range(start, start + 1000))))
        for _ in range(1000):
            assert c.simple_reply()[0] == 0
    works(server)
    c.request(raw.FLUSH)
    assert c.simple_reply()[0] == 0
    return grown(case, server, before, 120)


@quick
@limit(240)
@on("dir")
def test_two_hundred_at_once(case):
    """Two hundred connections, each with requests under way."""
    case.ashlar("create", "disk", str(DATA))
    server = case.server(*SMALL)
    works(server)
    before = server.memory()
    crowd = []
    for n in range(200):
        c = Raw(server)
        assert c.go("disk")[0] == raw.REP_ACK
        crowd.append(c)
    for _ in range(3):
        for n, c in enumerate(crowd):
            c.request(raw.WRITE, n * 70000, 65536, bytes([n]) * 65536)
            c.request(raw.FLUSH)
        for n, c in enumerate(crowd):
            got = {}
            for _ in range(2):
                _, error, cookie = struct.unpack(">IIQ", c.read(16))
                assert error == 0
                got[cookie] = True
            assert got
    works(server)
    return grown(case, server, before, 160)


@limit(240)
@on("dir")
def test_who_never_fetches_goes(case):
    """Replies that nobody fetches hold up others' large reads for a while, never small ones."""
    server = filled(case)
    held = [greedy(server, requests((raw.READ, n * 8 * MIB, 8 * MIB))) for n in range(4)]
    assert works(server) < 5
    waiting = Raw(server).structured()
    assert waiting.go("disk")[0] == raw.REP_ACK
    began = time.monotonic()
    waiting.structured_read(64 * MIB, 8 * MIB)
    waiting.structured_read(96 * MIB, 32 * MIB)
    took = time.monotonic() - began
    assert took < 60, f"{took:.0f} s"
    assert any(c.closed() for c in held), "nobody had to go"
    return f"read after {took:.0f} s"


@limit(150)
@on("dir")
def test_payloads_that_stop_half_way(case):
    """Two clients fill the write buffer with promises: it is taken from them when somebody else needs it."""
    case.ashlar("create", "disk", "64M")
    server = case.server()
    held = [Raw(server) for _ in range(2)]
    for c in held:
        assert c.go("disk")[0] == raw.REP_ACK
        c.request(raw.WRITE, 0, 32 * MIB, bytes(100000))
    time.sleep(0.5)
    took = works(server)
    assert took < 30, f"{took:.0f} s"
    assert any(c.closed() for c in held)
    return f"another client wrote after {took:.0f} s"


@limit(100)
@on("dir")
def test_stopping_waits_for_nobody_who_is_deaf(case):
    """SIGTERM while a client has 8 MiB of replies to fetch: ten seconds; what was written is stored."""
    case.ashlar("create", "disk", "64M")
    server = case.server("--flush-interval", "1h")
    c = Raw(server)
    assert c.go("disk")[0] == raw.REP_ACK
    content = os.urandom(8 * MIB)
    c.request(raw.WRITE, 0, 8 * MIB, content)
    assert c.simple_reply()[0] == 0
    c.request(raw.READ, 0, 8 * MIB)
    c.read(16)
    server.stop(timeout=40)
    server.start()
    with clients.connect(server.uri()) as handle:
        assert handle.pread(8 * MIB, 0) == content
