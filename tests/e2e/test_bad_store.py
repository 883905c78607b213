"""Bad input gets a clear answer and nothing is lost: the store's side."""

import hashlib
import os
import subprocess

import nbd

import clients
import fake_s3
from harness import MIB, Skip, limit, on, quick, until


class Elsewhere:
    """A store as the command line names it, wrongly."""

    def __init__(self, url, env):
        self.url, self.env = url, env


def refused(case, url, env, *words):
    """create and serve end with status 1 within a minute, and one sentence with these words."""
    for command in (("create", "disk", "1M"), ("serve", "--listen", f"unix:{case.path('s')}")):
        done = case.ashlar(*command, store=Elsewhere(url, env), status=None, timeout=100)
        assert done.returncode == 1, f"{command[0]}: status {done.returncode}: {done.stderr}"
        said = done.stderr.lower()
        assert any(word in said for word in words), f"{command[0]} says none of {words}: {done.stderr}"


@quick
@on("dir")
def test_store_that_ignores_conditions(case):
    endpoint = fake_s3.start()
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    refused(case, f"s3://bucket/x?endpoint={endpoint}&region=r&path_style=1", env, "condition")


@quick
@on("dir", "rgw", "minio")
def test_unknown_format_is_left_alone(case):
    case.ashlar("create", "disk", "16M")
    store = case.store
    body = store.get("format").split(b"\n", 1)[1]
    later = body.replace(b'"ashlar":1', b'"ashlar":999').replace(b'"ashlar": 1', b'"ashlar": 999')
    assert later != body, body
    store.put("format", b'{"sha256":"' + hashlib.sha256(later).hexdigest().encode() + b'",\n' + later)
    before = store.keys()
    for command in (("ls",), ("info", "disk"), ("create", "other", "1M"), ("rm", "disk"),
                    ("serve", "--listen", f"unix:{case.path('s')}")):
        done = case.ashlar(*command, status=None, timeout=60)
        assert done.returncode == 1 and "999" in done.stderr, f"{command}: {done.returncode} {done.stderr}"
    assert store.keys() == before, "something was changed"


@limit(200)
@on("dir", "rgw", "minio")
def test_damaged_objects(case):
    """One object is gone, one has other content: EIO for their blocks alone; all else goes on."""
    case.ashlar("create", "disk", "64M", "--object-size", "128K")
    block, count = 128 << 10, 64
    server = case.server("--cache-size", "4M")
    contents = [os.urandom(block) for _ in range(count)]
    with clients.connect(server.uri()) as handle:
        for n, content in enumerate(contents):
            handle.pwrite(content, n * block)
        handle.flush()
    server.stop()
    names = {hashlib.sha256(content).hexdigest(): n for n, content in enumerate(contents)}
    keys = {names[key[7:71]]: key for key in case.store.keys("blocks/") if key[7:71] in names}
    assert len(keys) > count / 2, f"{len(keys)} of {count} blocks have an object of their own"
    gone, changed = sorted(keys)[3], sorted(keys)[9]
    case.store.delete(keys[gone])
    case.store.put(keys[changed], os.urandom(len(case.store.get(keys[changed]))))
    server.start()
    bad = {gone, changed}

    def check(handle, expected):
        for n, content in enumerate(expected):
            try:
                found = handle.pread(block, n * block)
            except nbd.Error as error:
                assert n in bad and error.errno == "EIO", f"block {n}: {error}"
            else:
                assert n not in bad and found == content, f"block {n}"

    with clients.connect(server.uri()) as handle:
        check(handle, contents)
        handle.pwrite(b"part" * 1024, gone * block)  # over a part of the missing one
        assert handle.pread(4096, gone * block) == b"part" * 1024
        contents[40] = os.urandom(block)
        handle.pwrite(contents[40], 40 * block)
        handle.flush()
    said = server.log()
    assert " ERROR " in said, "no loud line"
    server.stop()
    server.start()
    with clients.connect(server.uri()) as handle:
        check(handle, contents)
        assert handle.pread(4096, gone * block) == b"part" * 1024
        contents[changed] = os.urandom(block)
        handle.pwrite(contents[changed], changed * block)
        handle.flush()
        bad.remove(changed)
        check(handle, contents)
    server.stop()


@quick
@limit(120)
def test_full_directory(case):
    """FLUSH and FUA answer ENOSPC, nothing dirty is dropped, and all goes on when there is room again."""
    mount = case.path("small")
    os.makedirs(mount)
    with open(case.path("wrap"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nset -e\n"
                   f"mount -t tmpfs -o size=96M none {mount}\nhead -c 60M /dev/zero >{mount}/ballast\n"
                   f'mkdir {mount}/store\nexec "$@"\n')
    os.chmod(case.path("wrap"), 0o755)
    try:
        unshare = ["unshare", "-m"] + ([] if os.getuid() == 0 else ["-U", "-r"])
        probe = subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", mount], capture_output=True,
                               text=True)
    except FileNotFoundError:
        raise Skip("unshare is not installed") from None
    if probe.returncode:
        raise Skip("this system lets nobody mount a small file system: " + probe.stderr.strip())
    server = case.server("--write-buffer", "8M", "--inline-buffer", "4M", auto_create="256M",
                         url=f"file:{mount}/store", wrapper=[*unshare, case.path("wrap")])
    inside = f"/proc/{server.process.pid}/root{mount}"
    handle = clients.connect(server.uri())
    written = []

    def fill():
        for n in range(1000):
            content = os.urandom(MIB)
            handle.pwrite(content, len(written) * MIB)
            written.append(content)
            handle.flush()

    try:
        fill()
    except nbd.Error as error:
        assert error.errno == "ENOSPC", error
    assert 5 < len(written) < 40, len(written)
    for change in (handle.flush, lambda: handle.pwrite(b"f" * 512, 200 * MIB, nbd.CMD_FLAG_FUA)):
        try:
            change()
        except nbd.Error as error:
            assert error.errno == "ENOSPC", error
        else:
            raise AssertionError("a flush to a full disk was answered OK")
    for n, content in enumerate(written):
        assert handle.pread(MIB, n * MIB) == content, f"MiB {n} is lost while the disk is full"
    os.unlink(f"{inside}/ballast")

    def flushes():
        try:
            handle.flush()
        except nbd.Error:
            return False
        return True

    until(flushes, 30, "a flush that succeeds once there is room")
    for n, content in enumerate(written):
        assert handle.pread(MIB, n * MIB) == content, f"MiB {n} is lost"
    handle.shutdown()
    server.stop()
    return f"full after {len(written)} MiB, went on with room"
