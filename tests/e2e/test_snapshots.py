"""Snapshots, forks, rollback, sizes and removal, as a person gives the commands."""

import json
import os
import pty
import subprocess

import clients
from harness import MIB, on, quick

ALL = ("dir", "rgw", "minio")


def refused(case, text, *arguments, status=1):
    done = case.ashlar(*arguments, status=None)
    assert done.returncode == status and text in done.stderr, done.stderr
    return done


def image(case, name, content):
    path = case.path(name)
    with open(path, "wb") as file:
        file.write(content)
    return path


def content(case, name):
    path = case.path("out")
    case.ashlar("export", name, path)
    with open(path, "rb") as file:
        return file.read()


def info(case, name):
    return json.loads(case.ashlar("info", name, "--json"))


def on_a_terminal(case, *arguments):
    leader, follower = pty.openpty()
    command = subprocess.Popen([case.program(), "--store", case.store.url, *arguments],
                               stdin=subprocess.DEVNULL, stdout=follower)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass
    assert command.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


@quick
@on(*ALL)
def test_a_life_of_snapshots(case):
    """Exports that nobody has open."""
    old, new = os.urandom(3 * MIB), os.urandom(3 * MIB)
    case.ashlar("import", image(case, "old", old), "disk")
    assert case.ashlar("snapshot", "disk@monday").startswith("took disk@monday in ")
    refused(case, "has a snapshot monday already", "snapshot", "disk@monday")
    case.ashlar("fork", "disk@monday", "child")
    server = case.server()
    with clients.connect(server.uri("disk")) as handle:
        handle.pwrite(new, 0)
    server.stop()
    case.ashlar("fork", "disk", "grandchild")
    assert content(case, "child") == old and content(case, "grandchild") == new
    case.ashlar("fork", "disk@monday", "second")
    said = case.ashlar("rollback", "disk@monday")
    saved = said.split("disk@")[1].split()[0]
    assert content(case, "disk") == old
    case.ashlar("rollback", f"disk@{saved}", "--discard")
    assert content(case, "disk") == new
    assert [s["name"] for s in info(case, "disk")["snapshots"]] == ["monday", saved]
    assert info(case, "child")["parent"] == {"name": "disk", "id": info(case, "disk")["id"],
                                             "snapshot": "monday"}
    assert info(case, "disk@monday")["size"] == 3 * MIB
    case.ashlar("rm", "disk@monday")
    refused(case, "has no snapshot monday", "rm", "disk@monday")
    refused(case, 'no snapshot "disk@monday"', "info", "disk@monday")
    assert content(case, "child") == old
    case.ashlar("rm", "disk")
    refused(case, 'no export "disk"', "snapshot", "disk@x")
    case.ashlar("create", "disk", "1M")
    assert info(case, "disk")["snapshots"] == [] and content(case, "second") == old
    assert not case.store.keys("servers/"), "a command left its heartbeat"


@quick
@on("dir", "minio")
def test_sizes(case):
    data = os.urandom(3 * MIB)
    case.ashlar("import", image(case, "image", data), "disk")
    refused(case, "what lies past a smaller size is lost", "resize", "disk", "1M")
    case.ashlar("resize", "disk", "1M", "--shrink")
    assert content(case, "disk") == data[:MIB]
    case.ashlar("resize", "disk", "5M")
    assert content(case, "disk") == data[:MIB] + bytes(4 * MIB)
    case.ashlar("resize", "disk", "5T")
    assert info(case, "disk")["size"] == 5 << 40
    refused(case, "no export", "resize", "none", "5T")
    refused(case, "write it as", "resize", "disk", "0", status=2)


@quick
def test_what_is_not_a_name(case):
    refused(case, "which snapshot?", "snapshot", "disk", status=2)
    refused(case, "which snapshot?", "rollback", "disk", status=2)
    refused(case, "names a snapshot", "fork", "disk", "a@b", status=2)
    refused(case, "names a snapshot", "resize", "a@b", "1G", status=2)
    refused(case, "is not empty", "rm", "@b", status=2)
    refused(case, "is not empty", "snapshot", "a@", status=2)
    refused(case, "has no '@'", "snapshot", "a@b@c", status=2)


@quick
def test_the_tree(case):
    case.ashlar("create", "base", "1G")
    for name in ("one", "two"):
        case.ashlar("snapshot", f"base@{name}")
    case.ashlar("fork", "base@two", "b-child")
    case.ashlar("fork", "b-child", "a-grandchild")
    case.ashlar("fork", "base@one", "orphan")
    case.ashlar("rm", "base@one")
    lines = case.ashlar("ls", "-s").rstrip("\n").split("\n")[1:]
    assert [line.split()[0] for line in lines] == \
        ["base", "base@two", "b-child", "a-grandchild", "orphan"], lines
    assert "fork of base@two" in lines[2] and "taken 2" in lines[1], lines
    shown = on_a_terminal(case, "ls", "-s").split("\n")[1:]
    assert [line[:15].rstrip() for line in shown if line] == \
        ["base", "  @two", "    b-child", "      a-grandch", "  orphan"], shown
    listed = json.loads(case.ashlar("ls", "-s", "--json"))
    assert [e["name"] for e in listed] == ["a-grandchild", "b-child", "base", "orphan"]
    assert listed[3]["parent"]["snapshot"] == "one" and listed[2]["parent"] is None
