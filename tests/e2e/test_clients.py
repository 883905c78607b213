"""The clients people have see what a complete server offers, and bring disks in and out unchanged."""

import os
import time

import nbd

import clients
from harness import GIB, MIB, limit, on, quick
from stores import misnamed

ALL = ("dir", "rgw", "minio")


@quick
@on("dir")
def test_nbdinfo_shows_every_flag(case):
    case.ashlar("create", "disk", "64M")
    server = case.server()
    shown = clients.info(server.uri())
    assert shown["export-size"] == 64 * MIB
    wanted = dict.fromkeys(("can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn",
                            "can_trim", "can_zero"), True)
    wanted.update(is_read_only=False, is_rotational=False)
    wrong = {flag: shown.get(flag) for flag, value in wanted.items() if shown.get(flag) is not value}
    assert not wrong, wrong
    sizes = [shown[f"block_size_{name}"] for name in ("minimum", "preferred", "maximum")]
    assert sizes == [1, 128 << 10, 32 * MIB], sizes
    assert "base:allocation" in shown["contexts"], shown["contexts"]
    assert "ashlar:breaks" in shown["contexts"], shown["contexts"]
    listed = clients.run("nbdinfo", "--list", "--json", server.uri(""))
    assert '"disk"' in listed
    size = clients.run("nbdinfo", "--size", server.uri())
    assert int(size) == 64 * MIB


@quick
@on("dir")
def test_read_only_server(case):
    case.ashlar("create", "disk", "16M")
    writing = case.server()
    with clients.connect(writing.uri()) as handle:
        handle.pwrite(b"x" * 4096, 4096)
    writing.stop()
    server = case.server("--read-only")
    assert clients.info(server.uri())["is_read_only"] is True
    handle = clients.connect(server.uri())
    assert handle.pread(4096, 4096) == b"x" * 4096
    handle.set_strict_mode(0)
    for change in (lambda: handle.pwrite(b"y" * 512, 0), lambda: handle.trim(512, 0),
                   lambda: handle.zero(512, 0)):
        try:
            change()
        except nbd.Error as error:
            assert error.errno == "EPERM", error
        else:
            raise AssertionError("a change to a read-only export was accepted")


@limit(300)
@on(*ALL)
def test_image_in_and_out(case):
    """A 1 GiB image in by nbdcopy and by qemu-img; the server restarted; out by both."""
    data_mib = 96 if case.sanitized else 256
    image = clients.ext4_image(case.shared, 1024, data_mib)
    digest = clients.sha256_of_file(image)
    for export in ("one", "two"):
        case.ashlar("create", export, "1G")
    server = case.server()
    timed = []

    def step(what, *command):
        began = time.monotonic()
        clients.run(*command)
        timed.append(f"{what} {time.monotonic() - began:.1f} s")

    step("nbdcopy in", "nbdcopy", "--flush", image, server.uri("one"))
    step("qemu-img in", "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, server.uri("two"))
    server.restart()
    step("nbdcopy out", "nbdcopy", server.uri("one"), case.path("out1"))
    step("qemu-img out", "qemu-img", "convert", "-f", "raw", "-O", "raw", server.uri("two"),
         case.path("out2"))
    for name in ("out1", "out2"):
        assert clients.sha256_of_file(case.path(name)) == digest, f"{name} differs"
        os.unlink(case.path(name))
    clients.run("e2fsck", "-fn", image)
    server.stop()
    stored = sum(case.store.keys("blocks/").values())
    assert stored < 1.05 * data_mib * MIB + 32 * MIB, f"{stored} bytes stored of {data_mib} MiB twice"
    assert not misnamed(case.store)
    return ", ".join(timed)


@limit(300)
@on(*ALL)
def test_import_and_export(case):
    image, out = clients.ext4_image(case.shared, 512, 64), case.path("out")
    case.ashlar("import", image, "disk")
    refused = case.ashlar("import", image, "disk", status=None)
    assert refused.returncode == 1 and "--force" in refused.stderr, refused.stderr
    case.ashlar("import", image, "disk", "--force")
    case.ashlar("export", "disk", out)
    assert clients.sha256_of_file(out) == clients.sha256_of_file(image)
    assert os.stat(out).st_blocks * 512 < 200 * MIB, "the exported file is not sparse"
    with open(image, "rb") as piped:
        case.ashlar("import", "-", "piped", stdin=piped)
    case.ashlar("export", "piped", out)
    assert clients.sha256_of_file(out) == clients.sha256_of_file(image)


@quick
@on("dir")
def test_holes_are_shown(case):
    case.ashlar("create", "disk", "1G")
    server = case.server()
    handle = clients.connect(server.uri(), ["base:allocation"])
    block = 128 << 10
    hole, zero = nbd.STATE_HOLE, nbd.STATE_ZERO
    handle.pwrite(os.urandom(2 * block), 8 * MIB)
    handle.pwrite(os.urandom(block), 512 * MIB)
    handle.zero(block, 600 * MIB, nbd.CMD_FLAG_NO_HOLE)
    wanted = [(8 * MIB, hole | zero), (2 * block, 0), (504 * MIB - 2 * block, hole | zero), (block, 0),
              (88 * MIB - block, hole | zero), (block, zero), (424 * MIB - block, hole | zero)]
    assert clients.extents(handle, GIB) == wanted, clients.extents(handle, GIB)
    handle.flush()
    handle.shutdown()
    server.restart()
    again = clients.connect(server.uri(), ["base:allocation"])
    assert clients.extents(again, GIB) == wanted, clients.extents(again, GIB)
    shown = [(e["length"], e["data"], e["zero"]) for e in clients.qemu_extents(server.uri())]
    assert shown[0] == (8 * MIB, False, True) and shown[1] == (2 * block, True, False), shown
    again.trim(GIB, 0)
    assert clients.extents(again, GIB) == [(GIB, hole | zero)]


@quick
@on(*ALL)
def test_ten_terabytes_at_once(case):
    began = time.monotonic()
    case.ashlar("create", "huge", "10T")
    assert "huge" in case.ashlar("ls")
    server = case.server()
    assert clients.info(server.uri("huge"))["export-size"] == 10 << 40
    with clients.connect(server.uri("huge"), ["base:allocation"]) as handle:
        assert handle.pread(MIB, (10 << 40) - MIB) == bytes(MIB)
        assert clients.extents(handle, 4 * GIB, 5 << 40) == [(4 * GIB, nbd.STATE_HOLE | nbd.STATE_ZERO)]
    took = time.monotonic() - began
    assert took < (60 if case.sanitized else 10), f"{took:.1f} s"
    return f"created, listed, connected to and read in {took:.1f} s"


@quick
@on("dir")
def test_qemu_io_patterns(case):
    case.ashlar("create", "disk", "256M")
    server = case.server()
    commands = ["write -P 0x11 0 1M", "write -P 0x22 512k 64k", "write -z 768k 64k", "write -P 0x33 200M 32M",
                "discard 100M 1M", "flush", "read -P 0x11 0 512k", "read -P 0x22 512k 64k",
                "read -P 0 768k 64k", "read -P 0x33 200M 32M", "read -P 0 100M 1M", "read -P 0 64M 32M"]
    options = [word for command in commands for word in ("-c", command)]
    text = clients.run("qemu-io", "-f", "raw", *options, server.uri())
    assert "verification failed" not in text, text
    server.restart()
    text = clients.run("qemu-io", "-f", "raw", *options[12:], server.uri())
    assert "verification failed" not in text, text


@quick
@on("dir")
def test_clients_share_an_export(case):
    """Multi-conn: a flush on one connection covers what was answered on the others."""
    case.ashlar("create", "disk", "16M")
    server = case.server()
    one, two = clients.connect(server.uri()), clients.connect(server.uri())
    one.pwrite(b"a" * 4096, 0)
    assert two.pread(4096, 0) == b"a" * 4096
    two.flush()
    server.kill()
    server.start()
    with clients.connect(server.uri()) as handle:
        assert handle.pread(4096, 0) == b"a" * 4096


@quick
@on("dir")
def test_created_on_first_use(case):
    server = case.server(auto_create="1G")
    assert clients.info(server.uri("any name at all"))["export-size"] == GIB
    with clients.connect(server.uri("any name at all")) as handle:
        handle.pwrite(b"z" * 512, 0)
    case.ashlar("create", "later", "2G")
    assert clients.info(server.uri("later"))["export-size"] == 2 * GIB
    with clients.connect(server.uri("later")) as handle:
        assert handle.get_size() == 2 * GIB
