"""Transmission byte by byte: every command, flag, kind of reply and error, at the edges."""

import os
import struct

import clients
import raw
from harness import MIB, limit, on, quick, until
from raw import Raw

KIB = 1 << 10
HOLE, ZERO = 1, 2


def opened(server, export="disk", structured=True, contexts=()):
    connection = Raw(server)
    if structured:
        connection.structured()
    if contexts:
        connection.ids = connection.set_contexts(export, *contexts)
        assert sorted(connection.ids) == sorted(contexts), connection.ids
    kind, text = connection.go(export)
    assert kind == raw.REP_ACK, text
    return connection


def done(connection, command, offset=0, length=0, payload=b"", flags=0):
    """The error of a command whose answer is simple in either mode."""
    connection.request(command, offset, length, payload, flags, cookie=0xC00C1E)
    return connection.simple_reply()[0]


def status(connection, offset, length, flags=0, context="base:allocation"):
    """[(length, flags)]"""
    connection.request(raw.BLOCK_STATUS, offset, length, flags=flags)
    for kind, data in connection.chunks():
        assert kind == raw.CHUNK_STATUS, (kind, data)
        number, *rest = struct.unpack(f">{len(data) // 4}I", data)
        if number == connection.ids[context]:
            return list(zip(rest[0::2], rest[1::2]))
    raise AssertionError(f"no chunk for {context}")


@quick
@on("dir")
def test_reads(case):
    """Simple and structured, with DF, across data and holes, of one byte and of 32 MiB, and too long."""
    case.ashlar("create", "disk", "80M")
    server = case.server()
    data = os.urandom(300 * KIB)
    at = 5 * MIB + 12345
    simple, structured = opened(server, structured=False), opened(server)
    assert done(simple, raw.WRITE, at, len(data), data) == 0
    whole = bytearray(32 * MIB)
    whole[at:at + len(data)] = data
    for offset, length in ((at, len(data)), (at - 1, 2), (at + len(data) - 1, 2), (at + 7, 1), (0, 32 * MIB),
                           (at - 100000, 500000)):
        wanted = bytes(whole[offset:offset + length])
        simple.request(raw.READ, offset, length)
        assert simple.simple_reply(length) == (0, wanted), (offset, length)
        content, parts = structured.structured_read(offset, length)
        assert content == wanted, (offset, length)
        content, parts = structured.structured_read(offset, length, raw.DF)
        assert content == wanted and len(parts) == 1, parts
    content, parts = structured.structured_read(0, 32 * MIB)
    assert [is_data for _, _, is_data in parts] == [False, True, False], parts
    assert sum(size for _, size, is_data in parts if is_data) < len(data) + 256 * KIB, parts
    assert structured.structured_read(8 * MIB, MIB, raw.DF)[1] == [(8 * MIB, MIB, False)]
    for flags in (0, raw.DF):
        structured.request(raw.READ, 0, 32 * MIB + 1, flags=flags)
        assert structured.error_chunk() == raw.EOVERFLOW
    for length, wanted in ((32 * MIB + 1, raw.EINVAL), (80 * MIB + 1, raw.EINVAL)):
        simple.request(raw.READ, 0, length)
        assert simple.simple_reply()[0] == wanted
    simple.request(raw.READ, 0, 512, flags=raw.DF)
    assert simple.simple_reply()[0] == raw.EINVAL, "DF was not negotiated"
    simple.request(raw.READ, at, 512, flags=raw.FUA)
    assert simple.simple_reply(512) == (0, data[:512])


@quick
@on("dir")
def test_errors_at_the_end(case):
    """Which error for what lies past the end, is unknown, or not allowed; none ends the connection."""
    size = 16 * MIB + 1000
    case.ashlar("create", "disk", str(size))
    server = case.server()
    simple, structured = opened(server, structured=False), opened(server, contexts=["base:allocation"])
    ranges = [(size, 1), (size - 511, 512), (0, size + 1), ((1 << 64) - 1, 1), ((1 << 63), 512),
              ((1 << 64) - 512, 512), (size + 1, 0), ((1 << 64) - 1, 0)]
    for offset, length in ranges:
        payload = bytes(min(length, size + 1))
        for c in (simple, structured):
            assert done(c, raw.WRITE, offset, length, payload) == raw.ENOSPC, (offset, length)
            assert done(c, raw.WRITE_ZEROES, offset, length) == raw.ENOSPC, (offset, length)
            for command in (raw.TRIM, raw.CACHE):
                assert done(c, command, offset, length) == raw.EINVAL, (command, offset, length)
        assert done(simple, raw.READ, offset, length) == raw.EINVAL
        for command in (raw.READ, raw.BLOCK_STATUS):
            structured.request(command, offset, length)
            assert structured.error_chunk() == raw.EINVAL, (command, offset, length)
    for command, flags in ((9, 0), (8, 0), (0xFFFF, 0), (raw.TRIM, raw.NO_HOLE), (raw.TRIM, raw.FAST_ZERO),
                           (raw.WRITE_ZEROES, raw.DF), (raw.FLUSH, raw.REQ_ONE), (raw.CACHE, 1 << 15),
                           (raw.WRITE_ZEROES, 1 << 5)):
        for c in (simple, structured):
            assert done(c, command, 0, 512 if command != raw.FLUSH else 0, flags=flags) == raw.EINVAL
    for c in (simple, structured):
        assert done(c, raw.WRITE, 0, 512, b"x" * 512, flags=raw.NO_HOLE) == raw.EINVAL
        assert done(c, raw.WRITE, 0, 0, flags=1 << 15) == raw.EINVAL
        assert done(c, raw.FLUSH, 0, 512) == raw.EINVAL
    simple.request(raw.BLOCK_STATUS, 0, 512)
    assert simple.simple_reply()[0] == raw.EINVAL
    assert structured.structured_read(0, 512)[0] == bytes(512), "a refused WRITE was done"
    assert structured.structured_read(size - 1, 1)[0] == bytes(1)


@quick
@on("dir")
def test_nothing_at_all(case):
    """Zero lengths succeed, at the very end too, and change nothing."""
    case.ashlar("create", "disk", "16M")
    server = case.server()
    structured = opened(server, contexts=["base:allocation"])
    assert done(structured, raw.WRITE, 0, 4096, b"x" * 4096) == 0
    for offset in (0, 100, 16 * MIB):
        for command in (raw.WRITE, raw.TRIM, raw.WRITE_ZEROES, raw.CACHE):
            for flags in (0, raw.FUA):
                assert done(structured, command, offset, flags=flags) == 0, (command, offset)
        assert structured.structured_read(offset, 0) == (b"", [])
        structured.request(raw.BLOCK_STATUS, offset, 0)
        assert structured.error_chunk() == raw.EINVAL
    simple = opened(server, structured=False)
    simple.request(raw.READ, 16 * MIB, 0)
    assert simple.simple_reply(0) == (0, b"")
    assert structured.structured_read(0, 4096)[0] == b"x" * 4096


@quick
@on("dir")
def test_writes_byte_by_byte(case):
    """Single bytes at odd places, 32 MiB at once, and one byte more, whose payload is drained."""
    case.ashlar("create", "disk", "80M")
    server = case.server()
    c = opened(server)
    wanted = bytearray(3 * 128 * KIB)
    for step, at in enumerate((0, 1, 4095, 4096, 131071, 131072, 262143, 262144, 3 * 131072 - 1)):
        wanted[at] = step + 1
        assert done(c, raw.WRITE, at, 1, bytes([step + 1]), raw.FUA if step % 2 else 0) == 0
    assert c.structured_read(0, len(wanted))[0] == bytes(wanted)
    assert done(c, raw.TRIM, 131072, 1) == 0 and done(c, raw.WRITE_ZEROES, 4096, 1, flags=raw.NO_HOLE) == 0
    wanted[131072] = wanted[4096] = 0
    assert c.structured_read(0, len(wanted))[0] == bytes(wanted)
    big = os.urandom(MIB) * 32
    assert done(c, raw.WRITE, 1, 32 * MIB, big) == 0
    assert c.structured_read(1, 32 * MIB)[0] == big
    assert done(c, raw.WRITE, 0, 32 * MIB + 1, b"y" * (32 * MIB + 1)) == raw.EOVERFLOW
    assert done(c, raw.WRITE, 70 * MIB, 32 * MIB, b"y" * (32 * MIB)) == raw.ENOSPC
    assert c.structured_read(0, 2)[0] == b"\1" + big[:1]
    simple = opened(server, structured=False)
    assert done(simple, raw.WRITE, 0, 33 * MIB, b"y" * (33 * MIB)) == raw.EINVAL
    assert done(c, raw.FLUSH) == 0
    server.kill()
    server.start()
    c = opened(server)
    assert c.structured_read(1, 32 * MIB)[0] == big


@quick
@on("dir")
def test_fua_is_durable(case):
    """FUA is taken on every command; with it a change survives the server, without it nothing is promised."""
    case.ashlar("create", "disk", "16M")
    server = case.server("--flush-interval", "1h")
    c = opened(server, contexts=["base:allocation"])
    assert done(c, raw.WRITE, 0, 64 * KIB, b"a" * 64 * KIB, raw.FUA) == 0
    assert done(c, raw.WRITE, MIB, 64 * KIB, b"b" * 64 * KIB) == 0
    assert done(c, raw.TRIM, 0, 4096, flags=raw.FUA) == 0
    assert done(c, raw.WRITE_ZEROES, 8192, 4096, flags=raw.FUA | raw.NO_HOLE) == 0
    assert done(c, raw.CACHE, 0, 4096, flags=raw.FUA) == 0 and done(c, raw.FLUSH, flags=raw.FUA) == 0
    assert c.structured_read(0, 1, raw.FUA)[0] == b"\0"
    assert status(c, 0, 4096, raw.FUA)
    server.kill()
    server.start()
    c = opened(server, contexts=["base:allocation"])
    wanted = bytes(4096) + b"a" * 4096 + bytes(4096) + b"a" * 52 * KIB
    assert c.structured_read(0, 64 * KIB)[0] == wanted
    assert c.structured_read(MIB, 64 * KIB)[0] == b"b" * 64 * KIB, "answered before a FUA that was answered"


@quick
@on("dir")
def test_zeroes_and_holes(case):
    """TRIM and WRITE_ZEROES leave holes, with NO_HOLE allocated zeros; FAST_ZERO is as good."""
    size = 6 << 30
    case.ashlar("create", "disk", str(size))
    server = case.server()
    c = opened(server, contexts=["base:allocation", "ashlar:breaks"])
    block = 128 * KIB
    for n in range(6):
        assert done(c, raw.WRITE, n * block, block, os.urandom(block)) == 0
    assert done(c, raw.WRITE_ZEROES, block, block) == 0
    assert done(c, raw.WRITE_ZEROES, 3 * block, block, flags=raw.NO_HOLE | raw.FAST_ZERO) == 0
    assert done(c, raw.TRIM, 5 * block, 0xFFFFFFFF) == 0
    hole = HOLE | ZERO
    wanted = [(block, 0), (block, hole), (block, 0), (block, ZERO), (block, 0)]

    def shown():
        found = status(c, 0, MIB)
        assert found[:5] == wanted and found[5][1] == hole and len(found) == 6, found
        assert sum(length for length, _ in found[:-1]) < MIB
        assert status(c, 0, MIB, raw.REQ_ONE)[:1] == [(block, 0)] and len(status(c, 0, MIB, raw.REQ_ONE)) == 1
        assert status(c, 100, 1, raw.REQ_ONE) == [(1, 0)]
        assert status(c, 3 * block + 5, 10, raw.REQ_ONE) == [(10, ZERO)]
        far = status(c, 2 << 30, 0xFFFFFFFF)
        assert len(far) == 1 and far[0][1] == hole and 0 < far[0][0] <= 0xFFFFFFFF, far
        assert len(status(c, 0, MIB, context="ashlar:breaks")) == 1

    shown()
    assert done(c, raw.FLUSH) == 0
    shown()
    server.restart()
    c = opened(server, contexts=["base:allocation", "ashlar:breaks"])
    shown()
    assert c.structured_read(block, block)[1] == [(block, block, False)]
    assert c.structured_read(3 * block, block)[0] == bytes(block)
    for offset in (0, 0xFFFFFFFF):
        assert done(c, raw.TRIM, offset, min(size - offset, 0xFFFFFFFF), flags=raw.FUA) == 0
    assert status(c, 0, 0xFFFFFFFF)[0][1] == hole
    assert done(c, raw.WRITE_ZEROES, 1, 0xFFFFFFFF, flags=raw.NO_HOLE) == 0
    assert status(c, 0, MIB)[:2] == [(1, hole), (MIB - 1, ZERO)]


@quick
@on("dir")
def test_many_descriptors(case):
    """A BLOCK_STATUS of very many pieces is cut off at a bounded number, and can be gone on with."""
    case.ashlar("create", "disk", "64M", "--block-size", "4K", "--object-size", "4M")
    server = case.server()
    c = opened(server, contexts=["base:allocation"])
    pieces = 3000
    for n in range(0, pieces, 100):
        for m in range(n, n + 100):
            c.request(raw.WRITE, m * 8192, 4096, struct.pack(">I", m + 1) * 1024)
        for _ in range(100):
            assert c.simple_reply()[0] == 0
    for flush in (False, True):
        if flush:
            assert done(c, raw.FLUSH) == 0
        at, found = 0, []
        while at < pieces * 8192:
            part = status(c, at, pieces * 8192 - at)
            assert 0 < len(part) <= 1024, len(part)
            found += part
            at += sum(length for length, _ in part)
        assert found == [(4096, 0), (4096, HOLE | ZERO)] * pieces, len(found)


@quick
@limit(180)
@on("dir")
def test_cache_warms(case):
    """CACHE answers once what it names is at hand; of a cold 64 MiB it takes bounded memory."""
    case.ashlar("create", "disk", "64M")
    server = case.server("--cache-size", "16M", "--write-buffer", "16M")
    with clients.connect(server.uri()) as handle:
        for at in range(0, 64 * MIB, MIB):
            handle.pwrite(os.urandom(MIB), at)
    server.restart()
    before = server.memory()
    c = opened(server)
    for n in range(100):
        c.request(raw.CACHE, n % 2 * 32 * MIB, 32 * MIB, cookie=n)
    for _ in range(100):
        assert c.simple_reply()[0] == 0
    assert done(c, raw.CACHE, 0, 64 * MIB) == 0
    grown = server.memory("VmHWM") - before
    assert grown < (800 if case.sanitized else 120) * MIB, f"{grown / MIB:.0f} MiB for CACHE"
    return f"{grown / MIB:.0f} MiB more"


@quick
@on("dir")
def test_read_only(case):
    case.ashlar("create", "disk", "16M")
    server = case.server("--read-only")
    for structured in (False, True):
        c = opened(server, structured=structured)
        for flags in (0, raw.FUA):
            assert done(c, raw.WRITE, 0, 512, b"x" * 512, flags) == raw.EPERM
            assert done(c, raw.WRITE, 0, 0, flags=flags) == raw.EPERM
            assert done(c, raw.TRIM, 0, 512, flags=flags) == raw.EPERM
            assert done(c, raw.WRITE_ZEROES, 0, 512, flags=flags) == raw.EPERM
        assert done(c, raw.WRITE_ZEROES, 0, 512, flags=raw.FAST_ZERO) == raw.EPERM
        assert done(c, raw.WRITE, 1 << 40, 512, b"x" * 512) == raw.EPERM
        assert done(c, raw.FLUSH) == 0 and done(c, raw.CACHE, 0, 4096) == 0
    c = opened(server, contexts=["base:allocation"])
    assert c.structured_read(0, 512)[0] == bytes(512)
    assert status(c, 0, 16 * MIB) == [(16 * MIB, HOLE | ZERO)]


@quick
@on("dir")
def test_cookies_and_order(case):
    """500 requests sent before the first answer is read: each is answered once, under its own cookie."""
    case.ashlar("create", "disk", "64M")
    server = case.server("--cache-size", "4M")
    with clients.connect(server.uri()) as handle:
        for n in range(64):
            handle.pwrite(struct.pack(">I", n) * (MIB // 4), n * MIB)
    server.restart()
    c = opened(server, structured=False)
    cookies = [os.urandom(8) for _ in range(500)]
    asked = {}
    batch = []
    for n, cookie in enumerate(cookies):
        number, = struct.unpack(">Q", cookie)
        block = 63 - n % 64
        command = (raw.READ, raw.READ, raw.FLUSH, raw.READ, raw.CACHE)[n % 5]
        asked[number] = (command, block)
        offset, length = (0, 0) if command == raw.FLUSH else (block * MIB + n * 100, 512)
        batch.append(struct.pack(">IHHQQI", raw.REQUEST_MAGIC, 0, command, number, offset, length))
    c.send(b"".join(batch))
    order = []
    while asked:
        magic, error, number = struct.unpack(">IIQ", c.read(16))
        assert magic == raw.SIMPLE_MAGIC and error == 0, (hex(magic), error)
        command, block = asked.pop(number)
        if command == raw.READ:
            assert c.read(512) == struct.pack(">I", block) * 128, block
        order.append(struct.pack(">Q", number))
    return "out of order" if order != cookies else "in order"


@quick
@on("dir")
def test_disconnect_finishes_first(case):
    """DISC and a half-closed socket: what is under way is answered, then the connection ends."""
    case.ashlar("create", "disk", "64M")
    server = case.server()
    for disconnect in (True, False):
        c = opened(server, structured=False)
        c.request(raw.WRITE, 0, 8 * MIB, b"d" * 8 * MIB)
        c.request(raw.FLUSH)
        c.request(raw.READ, 0, 4 * MIB, cookie=2)
        if disconnect:
            c.request(raw.DISC)
        else:
            c.socket.shutdown(1)
        assert c.simple_reply()[0] == 0
        for _ in (raw.FLUSH, raw.READ):  # in either order
            _, error, cookie = struct.unpack(">IIQ", c.read(16))
            assert error == 0
            if cookie == 2:
                assert c.read(4 * MIB) == b"d" * 4 * MIB
        assert c.closed()


@quick
@on("dir")
def test_breaks_are_counted(case):
    """ashlar:breaks goes up by one when the server died with the export open, not after a clean end."""
    case.ashlar("create", "disk", "16M")
    case.ashlar("create", "safe", "16M", "--durable-writes")
    server = case.server()

    def breaks(export="disk"):
        c = opened(server, export, contexts=["base:allocation", "ashlar:breaks"])
        (length, count), = status(c, 0, MIB, context="ashlar:breaks")
        assert length == MIB, length
        assert done(c, raw.WRITE, 0, 512, os.urandom(512)) == 0
        c.request(raw.DISC)
        assert c.closed()
        return count

    assert breaks() == 0 and breaks() == 0
    server.restart()
    assert breaks() == 0
    for wanted in (1, 2):
        keep = [opened(server), opened(server, "safe")]
        server.kill()
        server.start()
        assert keep and breaks() == wanted and breaks() == wanted
        assert breaks("safe") == 0, "nothing can be lost of an export with durable writes"
        server.restart()
        assert breaks() == wanted


@quick
@on("dir")
def test_flush_covers_other_connections(case):
    case.ashlar("create", "disk", "16M")
    server = case.server("--flush-interval", "1h", tcp=True)
    address = ("127.0.0.1", server.port)
    over_tcp = Raw(server, address=address).structured()
    assert over_tcp.go("disk")[0] == raw.REP_ACK
    writers = [opened(server) for _ in range(10)]
    for n, c in enumerate(writers):
        assert done(c, raw.WRITE, n * 100001, 1000, bytes([n + 1]) * 1000) == 0
        assert over_tcp.structured_read(n * 100001, 1000)[0] == bytes([n + 1]) * 1000
    assert done(over_tcp, raw.FLUSH) == 0
    server.kill()
    server.start()
    c = opened(server)
    for n in range(10):
        assert c.structured_read(n * 100001, 1000)[0] == bytes([n + 1]) * 1000


@quick
@on("dir")
def test_the_holder_is_named(case):
    """Two servers, one export: the second's client is told who holds it, and its session lives on."""
    first = case.server(auto_create="16M", name="first")
    second = case.server(auto_create="16M", name="second")
    held = opened(first, "fought over")
    c = Raw(second)
    infos, kind, _ = c.info("fought over")
    assert kind == raw.REP_ACK, "INFO reads only, so it need not mind who holds it"
    kind, text = c.go("fought over")
    assert kind == raw.REP_ERR_POLICY, (hex(kind), text)
    said = text.decode()
    assert str(first.process.pid) in said and "fought over" in said, said
    assert c.go("another")[0] == raw.REP_ACK
    c.request(raw.READ, 0, 512)
    assert c.simple_reply(512) == (0, bytes(512))
    held.request(raw.DISC)
    assert held.closed()
    until(lambda: Raw(second).go("fought over")[0] == raw.REP_ACK, 20, "the export is free")
