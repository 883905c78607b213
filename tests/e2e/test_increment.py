"""Incremental backup: by the metadata contexts that qemu-img and libnbd know, and by streams; restored, and
compared byte by byte."""

import json
import os
import random
import subprocess

import clients
from clients import connect
from harness import MIB, limit, on, quick

ALL = ("dir", "rgw", "minio")
SIZE = 24 * MIB


class Disk:
    """An export, what it must hold, and what it held at its snapshots."""

    def __init__(self, case, server, name="disk", seed=5):
        self.case, self.server, self.name = case, server, name
        self.chance = random.Random(seed)
        self.now = bytearray(SIZE)
        self.then = {}
        case.ashlar("create", name, SIZE)

    def change(self, count=40):
        with connect(self.server.uri(self.name)) as handle:
            for _ in range(count):
                at = self.chance.randrange(SIZE - 300000)
                size = self.chance.choice((512, 4096, 5000, 131072, 300000))
                what = self.chance.random()
                if what < 0.7:
                    data = self.chance.randbytes(size)
                    handle.pwrite(data, at)
                else:
                    data = bytes(size)
                    if what < 0.85:
                        handle.trim(size, at)
                    else:
                        handle.zero(size, at, clients.nbd.CMD_FLAG_NO_HOLE)
                self.now[at:at + size] = data
            handle.flush()

    def snapshot(self, name):
        self.case.ashlar("snapshot", f"{self.name}@{name}")
        self.then[name] = bytes(self.now)


def exported(case, what):
    path = case.path("exported")
    case.ashlar("export", what, path)
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    return content


def ranges(handle, context, size=SIZE):
    """[(start, end, flags)] of a context, over the whole export."""
    found, at = [], 0
    while at < size:
        part = []

        def take(name, _offset, entries, _error, part=part):
            if name == context:
                part.extend(zip(entries[::2], entries[1::2]))
            return 0
        handle.block_status(size - at, at, take)
        assert part
        for length, flags in part:
            found.append((at, min(size, at + length), flags))
            at += length
    return found


def backup(uri, snapshot, old, size=SIZE):
    """The old content, brought up to date by what the dirty bitmap says is dirty."""
    new, copied = bytearray(old), 0
    context = f"qemu:dirty-bitmap:{snapshot}"
    others = [f"ashlar:changed-since:{snapshot}", "qemu:allocation-depth"]
    with connect(uri, contexts=[context, *others]) as handle:
        assert handle.can_meta_context(context)
        dirty = ranges(handle, context, size)
        assert dirty == ranges(handle, f"ashlar:changed-since:{snapshot}", size)
        assert {flags for _, _, flags in ranges(handle, "qemu:allocation-depth", size)} <= {0, 1, 2}
        for start, end, flags in dirty:
            assert flags in (0, 1)
            if flags:
                new[start:end] = handle.pread(end - start, start)
                copied += end - start
    return bytes(new), copied


@quick
@limit(200)
@on(*ALL)
def test_backup_by_dirty_bitmap(case):
    server = case.server()
    disk = Disk(case, server)
    disk.change()
    disk.snapshot("monday")
    assert exported(case, "disk@monday") == disk.then["monday"]
    with connect(server.uri("disk"), contexts=["qemu:dirty-bitmap:monday"]) as handle:
        assert ranges(handle, "qemu:dirty-bitmap:monday") == [(0, SIZE, 0)]
    disk.change(6)
    live, copied = backup(server.uri("disk"), "monday", disk.then["monday"])  # logged, not yet in the map
    assert live == disk.now
    assert copied < SIZE / 4, copied
    disk.snapshot("tuesday")
    live, again = backup(server.uri("disk@tuesday"), "monday", disk.then["monday"])
    assert live == disk.then["tuesday"] and again <= copied + 6 * 2 * 131072
    disk.change(6)
    live, _ = backup(server.uri("disk"), "tuesday", disk.then["tuesday"])
    assert live == disk.now
    other = case.server()  # another server reads the snapshot that is served here
    live, _ = backup(other.uri("disk@tuesday"), "monday", disk.then["monday"])
    assert live == disk.then["tuesday"]
    return f"{copied} of {SIZE} bytes copied"


@limit(200)
@on("dir")
def test_backup_by_qemu_img(case):
    server = case.server()
    disk = Disk(case, server, seed=6)
    disk.change()
    disk.snapshot("monday")
    disk.change(6)
    disk.snapshot("tuesday")
    socket = server.socket_path
    options = (f"driver=nbd,server.type=unix,server.path={socket},export=disk@tuesday,"
               "x-dirty-bitmap=qemu:dirty-bitmap:monday")
    dirty = json.loads(clients.run("qemu-img", "map", "--output=json", "--image-opts", options))
    new = bytearray(disk.then["monday"])
    full = case.path("tuesday")
    clients.run("qemu-img", "convert", "-f", "raw", "-O", "raw", server.uri("disk@tuesday"), full)
    with open(full, "rb") as file:
        for extent in dirty:
            if not extent["data"]:  # how qemu shows a dirty range
                file.seek(extent["start"])
                new[extent["start"]:extent["start"] + extent["length"]] = file.read(extent["length"])
    wrong = [at for at in range(SIZE) if new[at] != disk.then["tuesday"][at]]
    assert not wrong, (wrong[0], wrong[-1], len(wrong), os.path.getsize(full))
    changed = sum(e["length"] for e in dirty if not e["data"])
    assert 0 < changed < SIZE / 4
    shown = clients.run("nbdinfo", "--map=qemu:dirty-bitmap:monday", server.uri("disk@tuesday"))
    assert " 1 " in shown, shown
    listed = clients.run("nbdinfo", "--list", server.uri(""))
    assert "qemu:dirty-bitmap:tuesday" in listed and "disk@" not in listed, listed


def stream(case, since, to, file="stream"):
    case.ashlar("export", "--since", since, to, case.path(file))
    return case.path(file)


@quick
@limit(240)
@on(*ALL)
def test_backup_by_streams(case):
    server = case.server()
    disk = Disk(case, server, seed=7)
    disk.change()
    disk.snapshot("a")
    disk.change(6)
    disk.snapshot("b")
    other = case.new_store()
    first = stream(case, "nothing", "disk@a", "first")
    second = stream(case, "disk@a", "disk@b", "second")
    assert os.path.getsize(second) < SIZE / 4
    failed = case.ashlar("import", "--apply", second, "copy", store=other, status=None)
    assert failed.returncode == 1 and "no export" in failed.stderr
    case.ashlar("import", "--apply", first, "copy", store=other)
    case.ashlar("import", "--apply", second, "copy", store=other)
    for what in ("a", "b"):
        path = case.path("out")
        case.ashlar("export", f"copy@{what}", path, store=other)
        with open(path, "rb") as file:
            assert file.read() == disk.then[what]
    case.ashlar("export", "copy", path, store=other)
    with open(path, "rb") as file:
        assert file.read() == disk.then["b"]
    assert "already" in case.ashlar("import", "--apply", second, "copy", store=other)
    return f"{os.path.getsize(first)} bytes, then {os.path.getsize(second)}"


@limit(240)
@on("dir")
def test_streams_are_applied_to_their_base_only(case):
    server = case.server()
    disk = Disk(case, server, seed=8)
    disk.change()
    disk.snapshot("a")
    disk.change(5)
    disk.snapshot("b")
    disk.change(5)
    disk.snapshot("c")
    server.stop()
    first, second, third = (stream(case, since, f"disk@{to}", to)
                            for since, to in (("nothing", "a"), ("disk@a", "b"), ("disk@b", "c")))
    other = case.new_store()

    def apply(file, words=None):
        done = case.ashlar("import", "--apply", file, "copy", store=other, status=None)
        assert (done.returncode == 0) == (words is None), done
        assert not words or words in done.stderr, done

    apply(first)
    apply(third, "no snapshot that is disk@b")
    case.ashlar("snapshot", "copy@b2", store=other)
    apply(third, "no snapshot that is disk@b")
    raw = case.path("raw")
    with open(raw, "wb") as file:
        file.write(disk.then["b"])
    case.ashlar("import", raw, "raw", store=other)
    done = case.ashlar("import", "--apply", third, "raw", store=other, status=None)
    assert done.returncode == 1 and "no snapshot" in done.stderr
    changed = case.server(store=other)
    with connect(changed.uri("copy")) as handle:
        handle.pwrite(b"!", 12345)
        handle.flush()
    changed.stop()
    apply(second, "was changed since its snapshot a")
    case.ashlar("rollback", "copy@a", "--discard", store=other)
    apply(second)
    apply(third)
    for size in (10, 60):
        with open(second, "rb") as file:
            part = bytearray(file.read())
        with open(case.path("cut"), "wb") as file:
            file.write(part[:size])
        done = case.ashlar("import", "--apply", case.path("cut"), "copy", store=other, status=None)
        assert done.returncode == 1, done


@limit(300)
@on("dir")
def test_an_application_that_broke_off_is_finished(case):
    server = case.server()
    disk = Disk(case, server, seed=9)
    disk.change()
    disk.snapshot("a")
    disk.change(12)
    disk.snapshot("b")
    server.stop()
    first = stream(case, "nothing", "disk@a", "first")
    second = stream(case, "disk@a", "disk@b", "second")
    with open(second, "rb") as file:
        content = file.read()
    other = case.new_store()
    case.ashlar("import", "--apply", first, "copy", store=other)
    for part in (0.1, 0.5, 0.9):
        with open(case.path("cut"), "wb") as file:
            file.write(content[:int(len(content) * part)])
        done = case.ashlar("import", "--apply", case.path("cut"), "copy", store=other, status=None)
        assert done.returncode == 1 and "ends in the middle" in done.stderr, done
        path = case.path("out")
        case.ashlar("export", "copy@a", path, store=other)
        with open(path, "rb") as file:
            assert file.read() == disk.then["a"]
    bad = bytearray(content)
    bad[len(bad) // 2] ^= 1
    with open(case.path("bad"), "wb") as file:
        file.write(bad)
    done = case.ashlar("import", "--apply", case.path("bad"), "copy", store=other, status=None)
    assert done.returncode == 1 and "damaged" in done.stderr, done
    env = {**os.environ, **other.env, "ASHLAR_STORE": other.url}  # killed while its stream comes slowly
    command = [case.program(), "import", "--apply", "-", "copy"]
    killed = subprocess.Popen(command, stdin=subprocess.PIPE, env=env)
    killed.stdin.write(content[:len(content) // 2])
    killed.stdin.flush()
    killed.kill()
    killed.wait()
    case.ashlar("import", "--apply", second, "copy", store=other)
    case.ashlar("export", "copy@b", path, store=other)
    with open(path, "rb") as file:
        assert file.read() == disk.then["b"]
    assert "applying" not in case.ashlar("ls", "-s", "--json", store=other)
