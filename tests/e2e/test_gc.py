"""Garbage: what nothing refers to goes, everything else stays."""

import random

import clients
from harness import limit, on, quick, until


def stored(store):
    """Objects and bytes under blocks/ and maps/."""
    sizes = [size for prefix in ("blocks/", "maps/") for size in store.keys(prefix).values()]
    return len(sizes), sum(sizes)


def image(case, name, seed, size=24 << 20):
    path = case.path(name)
    with open(path, "wb") as file:
        file.write(random.Random(seed).randbytes(size))
    return path


@quick
@on("dir")
@limit(120)
def test_removed_disks_go(case):
    keep, gone = image(case, "keep.img", 1), image(case, "gone.img", 2)
    case.ashlar("import", keep, "keep")
    case.ashlar("import", keep, "twin")
    objects, size = stored(case.store)
    case.ashlar("import", gone, "gone")
    assert "garbage: 0 objects" in case.ashlar("gc", "--dry-run")
    case.ashlar("rm", "gone")
    case.ashlar("rm", "twin")
    before = stored(case.store)
    assert "garbage: 0 objects" not in case.ashlar("gc", "--dry-run")
    assert stored(case.store) == before
    assert case.ashlar("gc").startswith("deleted ")
    after = stored(case.store)
    assert after[1] <= size, (after, size)
    assert "garbage: 0 objects" in case.ashlar("gc", "--dry-run")
    out = case.path("out.img")
    case.ashlar("export", "keep", out)
    clients.run("cmp", keep, out)
    case.ashlar("rm", "keep")
    case.ashlar("gc")
    assert stored(case.store) == (0, 0), stored(case.store)


@on("dir", "rgw", "minio")
@limit(200)
def test_beside_a_live_server(case):
    """A server that writes, and twice the very content that is being collected."""
    content = random.Random(3).randbytes(4 << 20)
    server = case.server(auto_create="64M")
    with clients.connect(server.uri("disk")) as handle:
        for round in range(4):
            handle.pwrite(content, 0)
            handle.pwrite(random.Random(10 + round).randbytes(4 << 20), 8 << 20)
            handle.flush()
            handle.trim(4 << 20, 0)
            handle.flush()
            out = case.ashlar("gc")
            assert out.startswith("deleted "), out
            handle.pwrite(content, 0)
            handle.flush()
            assert handle.pread(4 << 20, 0) == content
        assert handle.pread(4 << 20, 8 << 20) == random.Random(13).randbytes(4 << 20)
    server.stop()
    server.start()
    with clients.connect(server.uri("disk")) as handle:
        assert handle.pread(4 << 20, 0) == content


@on("dir", "rgw")
@limit(120)
def test_a_server_collects_by_itself(case):
    case.ashlar("import", image(case, "gone.img", 4, 8 << 20), "gone")
    server = case.server("--gc-interval", "1s", "--lease-ttl", "3s", auto_create="64M")
    with clients.connect(server.uri("disk")) as handle:
        handle.pwrite(b"k" * 65536, 0)
        handle.flush()
        before = stored(case.store)[1]
        case.ashlar("rm", "gone")
        until(lambda: stored(case.store)[1] < before - (7 << 20), 60, "what was removed is gone")
        assert handle.pread(65536, 0) == b"k" * 65536
    server.stop()
