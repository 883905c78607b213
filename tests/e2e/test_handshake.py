"""The handshake byte by byte: every option, its bounds, and what it may and may not change."""

import struct
import time

import raw
from harness import MIB, on, quick, until
from raw import Raw, string

FLAGS_WRITABLE = 0b1101_1110_1101 & ~(1 << 7)  # without structured replies there is no DF
FLAGS_READ_ONLY = 0b0101_0000_1111
FLAG_DF = 1 << 7


def serves(connection, length=512):
    connection.request(raw.READ, 0, length)
    return connection.simple_reply(length) == (0, bytes(length))


@quick
@on("dir")
def test_what_info_says(case):
    """INFO and GO give the same answer; only what was asked for comes with it, INFO_EXPORT always."""
    case.ashlar("create", "disk", "24M", "--block-size", "64K")
    server = case.server()
    for structured, flags in ((False, FLAGS_WRITABLE), (True, FLAGS_WRITABLE | FLAG_DF)):
        connection = Raw(server)
        if structured:
            connection.structured()
        infos, kind, _ = connection.info("disk")
        assert kind == raw.REP_ACK and infos == {raw.INFO_EXPORT: struct.pack(">QH", 24 * MIB, flags)}, infos
        wanted = (raw.INFO_NAME, raw.INFO_DESCRIPTION, raw.INFO_BLOCK_SIZE, 77, raw.INFO_NAME)
        infos, kind, _ = connection.info("disk", wanted=wanted)
        assert sorted(infos) == [0, 1, 2, 3], infos
        assert infos[raw.INFO_NAME] == b"disk" and infos[raw.INFO_DESCRIPTION], infos
        assert struct.unpack(">III", infos[raw.INFO_BLOCK_SIZE]) == (1, 64 << 10, 32 * MIB), infos
        again, kind, _ = connection.info("disk", raw.OPT_GO, wanted)
        assert kind == raw.REP_ACK and again == infos, "GO says something else than INFO"
        assert connection.structured_read(0, 512)[0] == bytes(512) if structured else serves(connection)


@quick
@on("dir")
def test_export_name_with_and_without_zeroes(case):
    case.ashlar("create", "disk", "24M")
    server = case.server()
    for flags, zeroes in ((3, False), (1, True)):
        connection = Raw(server, flags=flags)
        assert connection.export_name("disk", zeroes) == (24 * MIB, FLAGS_WRITABLE)
        assert serves(connection)
    connection = Raw(server).structured()
    assert connection.export_name("disk") == (24 * MIB, FLAGS_WRITABLE | FLAG_DF)
    assert connection.structured_read(0, 512) == (bytes(512), [(0, 512, False)])
    for name in ("unknown", "", "x" * 4096, "x" * 4097, "a@b", "a\0b"):
        connection = Raw(server)
        connection.option(raw.OPT_EXPORT_NAME, name.encode())
        assert connection.closed(), name[:20]
    connection = Raw(server)
    connection.option(raw.OPT_EXPORT_NAME, length=0xFFFFFFFF)
    assert connection.closed()


@quick
@on("dir")
def test_looking_only_reads(case):
    """LIST and INFO create nothing and take nothing; GO creates with --auto-create, once."""
    case.ashlar("create", "disk", "16M")
    server = case.server(auto_create="8M")

    def content():
        return {name: case.store.get(name) for name in case.store.keys("") if not name.startswith("servers/")}

    before = content()
    connection = Raw(server)
    for _ in range(3):
        listed = connection.ask(raw.OPT_LIST)
        assert listed[-1] == (raw.REP_ACK, b"") and len(listed) == 2, listed
        kind, data = listed[0]
        assert kind == raw.REP_SERVER and data.startswith(string("disk")), listed
        assert connection.info("disk")[1] == raw.REP_ACK
        infos, kind, _ = connection.info("new", wanted=[raw.INFO_NAME])
        assert kind == raw.REP_ACK and infos[raw.INFO_NAME] == b"new", infos
        assert struct.unpack(">Q", infos[raw.INFO_EXPORT][:8]) == (8 * MIB,)
        connection.structured()
        assert connection.set_contexts("disk", "base:allocation") == {"base:allocation": 1}
        assert connection.set_contexts("new", "base:allocation") == {"base:allocation": 1}
    assert content() == before, "looking changed the store"
    told = connection.info("new")[0]
    infos, kind, _ = connection.info("new", raw.OPT_GO)
    assert kind == raw.REP_ACK and infos == told, (infos, told)
    assert "new" in case.ashlar("ls")
    connection.request(raw.DISC)
    assert connection.closed()


@quick
@on("dir")
def test_refused_options_keep_the_session(case):
    case.ashlar("create", "disk", "16M")
    server = case.server()
    connection = Raw(server)
    name = string("disk")
    one = struct.pack(">I", 1)
    refused = [
        (4, b"", raw.REP_ERR_UNSUP), (raw.OPT_STARTTLS, b"", raw.REP_ERR_UNSUP),
        (raw.OPT_STARTTLS, b"data", raw.REP_ERR_UNSUP), (raw.OPT_EXTENDED, b"", raw.REP_ERR_UNSUP),
        (0, b"x" * 100, raw.REP_ERR_UNSUP), (0xFFFFFFFF, b"", raw.REP_ERR_UNSUP),
        (12345, b"y" * 300000, raw.REP_ERR_UNSUP),
        (raw.OPT_LIST, b"data", raw.REP_ERR_INVALID), (raw.OPT_LIST, b"d" * 32769, raw.REP_ERR_TOO_BIG),
        (raw.OPT_STRUCTURED, b"d", raw.REP_ERR_INVALID),
        (raw.OPT_SET_META, name + one + string("base:allocation"), raw.REP_ERR_INVALID),  # not structured yet
        (raw.OPT_INFO, b"", raw.REP_ERR_INVALID), (raw.OPT_INFO, name, raw.REP_ERR_INVALID),
        (raw.OPT_INFO, name + b"\0\1", raw.REP_ERR_INVALID),
        (raw.OPT_INFO, name + b"\0\0\0\0", raw.REP_ERR_INVALID),
        (raw.OPT_INFO, struct.pack(">I", 0xFFFFFFFF) + b"disk\0\0", raw.REP_ERR_INVALID),
        (raw.OPT_INFO, struct.pack(">I", 5) + b"disk\0\0", raw.REP_ERR_INVALID),
        (raw.OPT_GO, string("di\0k") + b"\0\0", raw.REP_ERR_INVALID),
        (raw.OPT_GO, string("x" * 4097) + b"\0\0", raw.REP_ERR_INVALID),
        (raw.OPT_GO, string("x" * 4096) + b"\0\0", raw.REP_ERR_UNKNOWN),
        (raw.OPT_GO, string("") + b"\0\0", raw.REP_ERR_UNKNOWN),
        (raw.OPT_GO, string("a@b") + b"\0\0", raw.REP_ERR_UNKNOWN),
        (raw.OPT_GO, string("../disk") + b"\0\0", raw.REP_ERR_UNKNOWN),
        (raw.OPT_INFO, string("absent") + b"\0\0", raw.REP_ERR_UNKNOWN),
    ]
    for number, data, wanted in refused:
        replies = connection.ask(number, data)
        assert len(replies) == 1, replies
        kind, text = replies[0]
        assert kind == wanted, f"option {number} with {data[:30]}: {kind:#x} {text}, not {wanted:#x}"
        assert text, f"option {number}: no word for a person"
    connection.option(12345, b"z" * 70000)
    connection.option(raw.OPT_LIST)
    assert connection.option_replies(12345)[-1][0] == raw.REP_ERR_UNSUP
    assert len(connection.option_replies(raw.OPT_LIST)) == 2
    assert connection.go("disk")[0] == raw.REP_ACK
    assert serves(connection)


@quick
@on("dir")
def test_abort_is_acknowledged(case):
    server = case.server()
    for data in (b"", b"with data that is ignored"):
        connection = Raw(server)
        assert connection.ask(raw.OPT_ABORT, data) == [(raw.REP_ACK, b"")]
        assert connection.closed()
    connection = Raw(server, flags=7)
    assert connection.closed(), "unknown client flags"


@quick
@on("dir")
def test_meta_contexts(case):
    """LIST offers, SET selects; SET replaces even when it fails, and belongs to one export."""
    for name in ("disk", "other"):
        case.ashlar("create", name, "16M")
    server = case.server()
    both = {"base:allocation": 0, "ashlar:breaks": 0}
    depth = {"qemu:allocation-depth": 0}
    connection = Raw(server).structured()

    def listed(*queries):
        return connection.set_contexts("disk", *queries, option=raw.OPT_LIST_META)

    assert listed() == {**both, **depth} and listed("base:", "ashlar:") == both
    assert listed("base:") == {"base:allocation": 0} and listed("qemu:dirty-bitmap:x") == {}
    assert listed("qemu:") == depth and listed("nothing") is None
    assert connection.set_contexts("absent", "base:allocation") is None
    assert connection.set_contexts("disk", "base:") == {} and connection.set_contexts("disk") == {}
    chosen = connection.set_contexts("disk", "base:allocation", "x:y", "ashlar:breaks", "base:allocation")
    assert sorted(chosen) == sorted(both) and len(set(chosen.values())) == 2, chosen
    assert connection.go("disk")[0] == raw.REP_ACK
    connection.request(raw.BLOCK_STATUS, 0, MIB)
    chunks = connection.chunks()
    assert sorted(data[:4] for _, data in chunks) == sorted(struct.pack(">I", i) for i in chosen.values())
    assert all(kind == raw.CHUNK_STATUS for kind, _ in chunks), chunks

    def status_after(*steps):
        c = Raw(server).structured()
        for export, queries in steps:
            c.set_contexts(export, *queries)
        assert c.go("disk")[0] == raw.REP_ACK
        c.request(raw.BLOCK_STATUS, 0, MIB)
        found = c.chunks()
        return "none" if found[0][0] == raw.CHUNK_ERROR else len(found)

    set_one = ("disk", ["base:allocation"])
    assert status_after(set_one) == 1
    assert status_after() == "none"
    assert status_after(set_one, ("disk", [])) == "none", "an empty SET did not replace the set"
    assert status_after(set_one, ("absent", ["base:allocation"])) == "none", "a failed SET kept the set"
    assert status_after(set_one, ("disk", ["no namespace"])) == "none", "an invalid SET kept the set"
    assert status_after(("other", ["base:allocation"])) == "none", "the set of another export is in force"
    assert status_after(("other", ["base:allocation"]), set_one) == 1

    too_many = Raw(server).structured()
    count = struct.pack(">I", 0xFFFFFFFF)
    assert too_many.ask(raw.OPT_SET_META, string("disk") + count)[0][0] == raw.REP_ERR_INVALID
    query = struct.pack(">I", 1) + string("base:" + "x" * 4092)
    long = too_many.ask(raw.OPT_SET_META, string("disk") + query)
    assert long[0][0] == raw.REP_ERR_INVALID, long


@quick
@on("dir")
def test_too_many_options(case):
    """A handshake has a bounded number of options."""
    server = case.server()
    connection = Raw(server)
    head = raw.OPTION_MAGIC + struct.pack(">II", 99, 0)
    try:
        for _ in range(50):
            connection.send(head * 100)
            for _ in range(100):
                assert connection.option_reply()[1] == raw.REP_ERR_UNSUP
    except (EOFError, ConnectionError):
        pass
    else:
        raise AssertionError("5,000 options were answered")
    until(lambda: "options" in server.log(), 5, "a line that says why")


@quick
@on("dir")
def test_gone_while_being_answered(case):
    """Clients that ask much in the handshake, read nothing and go away while an answer is looked for."""
    for number in range(40):
        case.ashlar("create", f"export{number}" + "x" * 200, "16M")
    server = case.server()
    for number in range(8):
        connection = Raw(server)
        options = raw.OPTION_MAGIC + struct.pack(">II", raw.OPT_LIST, 0)
        name = string(f"asked for {number}") + b"\0\0"
        look = raw.OPTION_MAGIC + struct.pack(">II", raw.OPT_INFO, len(name)) + name
        connection.send(options * 40 + look * 3000)
        connection.read(20 + number)
        time.sleep(0.1 + 0.05 * number)
        connection.socket.close()
    connection = Raw(server)
    assert len(connection.ask(raw.OPT_LIST)) == 41
    assert connection.go("export0" + "x" * 200)[0] == raw.REP_ACK
    assert serves(connection)
    connection.socket.close()
    server.stop()
