"""Bad input gets a clear answer, harms nobody else, and loses nothing: the clients' side."""

import os
import time

import nbd

import clients
import raw
from harness import MIB, limit, on, quick
from raw import Raw


def works(server, export="disk"):
    """Another client is served as if nothing had happened."""
    with clients.connect(server.uri(export)) as handle:
        pattern = os.urandom(4096)
        handle.pwrite(pattern, MIB)
        assert handle.pread(4096, MIB) == pattern


def lines_since(server, mark):
    return [line for line in server.log()[mark:].splitlines() if line.strip()]


@quick
@on("dir")
def test_unknown_export(case):
    """ERR_UNKNOWN, and the connection lives on."""
    case.ashlar("create", "disk", "16M")
    server = case.server()
    connection = Raw(server)
    kind, text = connection.go("no such disk")
    assert kind == raw.REP_ERR_UNKNOWN, hex(kind)
    assert text, "no word for the person at the client"
    kind, _ = connection.go("../../etc/passwd")
    assert kind == raw.REP_ERR_UNKNOWN, hex(kind)
    assert connection.go("disk")[0] == raw.REP_ACK
    connection.request(raw.READ, 0, 512)
    assert connection.simple_reply(512) == (0, bytes(512))


@quick
@on("dir")
def test_garbage_is_closed_with_one_line(case):
    case.ashlar("create", "disk", "16M")
    server = case.server()
    bystander = clients.connect(server.uri())
    bystander.pwrite(b"b" * 4096, 0)

    def before():
        connection = Raw(server, greet=False)
        connection.send(os.urandom(65536))
        return connection

    def during():
        connection = Raw(server)
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection

    def after():
        connection = Raw(server)
        assert connection.go("disk")[0] == raw.REP_ACK
        connection.send(os.urandom(4096))
        return connection

    for garbage in (before, during, after):
        mark = len(server.log())
        try:
            assert garbage().closed(), f"garbage {garbage.__name__} the handshake: not closed"
        except (BrokenPipeError, ConnectionResetError):
            pass
        time.sleep(0.2)
        said = [line for line in lines_since(server, mark) if " WARN " in line or " ERROR " in line]
        lines = lines_since(server, mark)
        assert len(said) <= 1 and 1 <= len(lines) <= 4, f"{garbage.__name__}: {lines}"
        assert bystander.pread(4096, 0) == b"b" * 4096
        works(server)


@quick
@limit(120)
@on("dir")
def test_stated_lengths_that_never_come(case):
    """Fifty clients announce much and send nothing: memory stays, others are served, handshakes time out."""
    case.ashlar("create", "disk", "64M")
    server = case.server("--write-buffer", "16M", "--cache-size", "16M", "--inline-buffer", "16M")
    works(server)
    before = server.memory()
    waiting, options = [], []
    for _ in range(50):
        connection = Raw(server)
        assert connection.go("disk")[0] == raw.REP_ACK
        connection.request(raw.WRITE, 0, 32 * MIB)
        waiting.append(connection)
        connection = Raw(server)
        connection.option(raw.OPT_INFO, length=0xFFFFFFF0)
        options.append(connection)
    time.sleep(1)
    grown = server.memory() - before
    assert grown < (600 if case.sanitized else 80) * MIB, f"{grown / MIB:.0f} MiB more for promises"
    started = time.monotonic()
    for connection in options:
        assert connection.closed(), "a handshake that never ends is not ended"
    assert time.monotonic() - started < 30
    for connection in waiting:
        connection.socket.close()
    works(server)


@quick
@on("dir")
def test_requests_that_are_wrong(case):
    case.ashlar("create", "disk", "16M")
    server = case.server()
    handle = clients.connect(server.uri())
    handle.set_strict_mode(0)
    size = handle.get_size()
    cases = [
        ("EINVAL", lambda: handle.pread(512, size)), ("EINVAL", lambda: handle.pread(512, size - 256)),
        ("ENOSPC", lambda: handle.pwrite(b"x" * 512, size)), ("ENOSPC", lambda: handle.zero(512, size - 1)),
        ("EINVAL", lambda: handle.trim(1024, size - 512)), ("EINVAL", lambda: handle.cache(512, size)),
        ("ENOSPC", lambda: handle.pwrite(b"x" * 512, (1 << 63) - 512)),
        ("EINVAL", lambda: handle.pread(512, (1 << 63) - 512)),
        ("EINVAL", lambda: handle.pwrite(b"x" * 512, 0, 1 << 9)),
    ]
    for number, (wanted, request) in enumerate(cases):
        try:
            request()
        except nbd.Error as error:
            assert error.errno == wanted, f"request {number}: {error.errno}, not {wanted}"
        else:
            raise AssertionError(f"request {number} was accepted")
    handle.pwrite(b"", 0)
    handle.trim(0, 0)
    assert handle.pread(512, 0) == bytes(512)


@quick
@on("dir")
def test_names_of_every_kind(case):
    names = ["plain", "with space", "sl/ash", ".leading", "prozent%20", "ümläut", "=3D", "a" * 240]
    for name in names:
        case.ashlar("create", name, "1M")
    server = case.server()
    for number, name in enumerate(names):
        with clients.connect(server.uri(name)) as handle:
            handle.pwrite(bytes([number]) * 512, 0)
            handle.flush()
    for number, name in enumerate(names):
        with clients.connect(server.uri(name)) as handle:
            assert handle.pread(512, 0) == bytes([number]) * 512, name
    listed = case.ashlar("ls", "--json")
    for name in names:
        assert name in listed or name == "ümläut", name
    for bad in ("", "a@b", "a" * 241, "tab\there"):
        done = case.ashlar("create", bad, "1M", status=2).strip()
        assert not done, done


@quick
@limit(180)
@on("dir")
def test_slow_sockets(case):
    """A client that sends and fetches a few bytes at a time gets what everybody gets, and stops nobody."""
    case.ashlar("create", "disk", "16M")
    server = case.server()
    slow = Raw(server, greet=False)
    pattern = os.urandom(8192)

    def trickle(content, step=7):
        for at in range(0, len(content), step):
            slow.send(content[at:at + step])

    def sip(length):
        return b"".join(slow.read(1) for _ in range(length))

    assert sip(18)[:8] == raw.MAGIC
    sent = []
    slow_send, slow.send = slow.send, sent.append
    slow.send((3).to_bytes(4, "big"))
    name = b"disk"
    slow.option(raw.OPT_GO, len(name).to_bytes(4, "big") + name + b"\0\0")
    slow.request(raw.WRITE, 4096, len(pattern), pattern)
    slow.send = slow_send
    trickle(b"".join(sent))
    slow.read = sip_reader(slow.socket)
    while slow.option_reply()[1] == raw.REP_INFO:
        pass
    assert slow.simple_reply() == (0, b"")
    slow.request(raw.READ, 4096, len(pattern))
    works(server)
    assert slow.simple_reply(len(pattern)) == (0, pattern)
    hoarders = []
    for _ in range(20):  # ask for much and fetch nothing
        hoarder = Raw(server)
        assert hoarder.go("disk")[0] == raw.REP_ACK
        for n in range(16):
            hoarder.request(raw.READ, 0, 16 * MIB, cookie=n)
        hoarders.append(hoarder)
    works(server)
    grown = server.memory()
    assert grown < (1500 if case.sanitized else 600) * MIB, f"{grown / MIB:.0f} MiB with hoarders"
    for hoarder in hoarders:
        hoarder.socket.close()
    works(server)


def sip_reader(connection):
    def read(length):
        found = b""
        while len(found) < length:
            more = connection.recv(min(11, length - len(found)))
            if not more:
                raise EOFError("closed")
            found += more
        return found
    return read
