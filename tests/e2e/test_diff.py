"""Where two disks differ, compared with their bytes."""

import json
import random

import clients
from harness import MIB, on, quick

BLOCK = 128 << 10
ALL = ("dir", "rgw", "minio")


def image(case, name, content):
    with open(case.path(name), "wb") as file:
        file.write(content)
    return case.path(name)


def differing_blocks(a, b):
    longest = max(len(a), len(b))
    a, b = a.ljust(longest, b"\0"), b.ljust(longest, b"\0")
    return {at for at in range(0, longest, BLOCK) if a[at:at + BLOCK] != b[at:at + BLOCK]}


@quick
@on(*ALL)
def test_diff_names_what_differs(case):
    chance = random.Random(3)
    first = bytearray(chance.randbytes(12 * MIB)) + bytes(4 * MIB)
    second = bytearray(first)
    for _ in range(20):
        at = chance.randrange(len(second) - 4096)
        second[at:at + 4096] = chance.randbytes(4096)
    second[8 * MIB:9 * MIB] = bytes(MIB)
    second += chance.randbytes(2 * MIB)
    case.ashlar("import", image(case, "a", first), "a")
    case.ashlar("import", image(case, "b", second), "b")
    told = json.loads(case.ashlar("diff", "a", "b", "--json"))
    assert told["a"] == {"name": "a", "size": 16 * MIB, "as_of_last_checkpoint": False}
    assert told["b"]["size"] == 18 * MIB
    blocks, last = set(), 0
    for r in told["ranges"]:
        assert r["start"] >= last and r["bytes"] > 0
        last = r["start"] + r["bytes"]
        if r["kind"] == "content":
            blocks |= set(range(r["start"] // BLOCK * BLOCK, last, BLOCK))
    assert blocks == differing_blocks(first, second)
    assert told["content_bytes"] == sum(r["bytes"] for r in told["ranges"] if r["kind"] == "content")
    assert told["unreadable_bytes"] == 0
    same = case.ashlar("diff", "a", "a")
    assert "0 ranges" in same, same
    assert f"{len(told['ranges'])} ranges" in case.ashlar("diff", "b", "a")


@on("dir")
def test_diff_of_an_open_export_is_of_its_last_checkpoint(case):
    case.ashlar("create", "disk", "8M")
    case.ashlar("create", "other", "8M")
    server = case.server()
    with clients.connect(server.uri("disk")) as handle:
        handle.pwrite(b"x" * 4096, 0)
        handle.flush()
        told = case.ashlar("diff", "disk", "other", status=None)
        assert told.returncode == 0 and "last checkpoint" in told.stderr, told
        assert "0 ranges" in told.stdout
    server.stop()
    assert "1 range:" in case.ashlar("diff", "disk", "other")


@on("dir")
def test_diff_refuses(case):
    case.ashlar("create", "disk", "8M")
    case.ashlar("create", "fine", "8M", "--block-size", "4K")
    for a, b, said in (("disk", "none", "none does not exist"), ("disk@x", "disk", "no snapshot x"),
                       ("disk", "fine", "block size")):
        done = case.ashlar("diff", a, b, status=None)
        assert done.returncode in (1, 2) and said in done.stderr, done
    assert case.ashlar("diff", "disk@", "disk", status=None).returncode != 0
