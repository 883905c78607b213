"""Snapshots, forks, rollback, sizes and removal, as a person gives the commands."""

import json
import os
import pty
import random
import socket
import subprocess
import time

import clients
from harness import MIB, limit, on, plain_only, quick
from relay import Relay

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
    if os.path.exists(path):
        os.remove(path)
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


# ------------------------------------------------------------------------------------------- live

@quick
@limit(240)
@on(*ALL)
def test_while_a_client_is_connected(case):
    """Everything answered before the command is in the snapshot, flushed or not."""
    server = case.server(auto_create="8M")
    first, second = os.urandom(MIB), os.urandom(MIB)
    with clients.connect(server.uri("disk")) as handle:
        handle.pwrite(first, 0)
        case.ashlar("snapshot", "disk@one")
        handle.pwrite(second, 0)
        case.ashlar("fork", "disk", "child")
        handle.pwrite(bytes(4096), 0)
        case.ashlar("fork", "disk@one", "older")
        refused(case, "has a snapshot one already", "snapshot", "disk@one")
        refused(case, "1 client is connected", "rm", "disk")
        refused(case, "1 client is connected", "rollback", "disk@one")
        refused(case, "only while nobody is connected", "resize", "disk", "4M", "--shrink")
        case.ashlar("resize", "disk", "16M")
        assert handle.get_size() == 8 * MIB
        with clients.connect(server.uri("disk")) as other:
            assert other.get_size() == 16 * MIB
            other.pwrite(second, 15 * MIB)
        case.ashlar("snapshot", "disk@two")
        case.ashlar("rm", "disk@one")
        assert [s["name"] for s in info(case, "disk")["snapshots"]] == ["two"]
        with clients.connect(server.uri("child")) as child:
            assert child.pread(MIB, 0) == second
            child.pwrite(first, 0)
        with clients.connect(server.uri("older")) as older:
            assert older.pread(MIB, 0) == first
        assert handle.pread(MIB, 0) == bytes(4096) + second[4096:]
    case.ashlar("rollback", "disk@two")
    case.ashlar("resize", "disk", "4M", "--shrink")
    case.ashlar("rm", "disk")
    server.stop()
    assert content(case, "child")[:MIB] == first
    refused(case, "no export", "rm", "disk")


@quick
@on("dir")
def test_the_control_socket(case):
    folder = case.path("run")
    os.mkdir(folder)
    server = case.server(auto_create="8M", env={"XDG_RUNTIME_DIR": folder})
    inside, = os.listdir(folder)
    path = os.path.join(folder, inside, "control")
    assert os.stat(os.path.join(folder, inside)).st_mode & 0o777 == 0o700
    with clients.connect(server.uri("disk")), socket.socket(socket.AF_UNIX) as talk:
        talk.connect(path)
        lines = talk.makefile("rw", encoding="utf-8")

        def ask(text):
            lines.write(text + "\n")
            lines.flush()
            return json.loads(lines.readline())
        assert ask("[1]")["error"] == "INVALID" and ask("{")["error"] == "INVALID"
        assert ask('{"request": "format", "export": "disk"}')["error"] == "INVALID"
        assert ask('{"request": "snapshot", "export": "disk"}')["error"] == "INVALID"
        assert ask('{"request": "snapshot", "export": "disk", "snapshot": "a@b"}')["error"] == "INVALID"
        assert ask('{"request": "resize", "export": "disk", "size": -1}')["error"] == "INVALID"
        assert ask('{"request": "snapshot", "export": "disk", "snapshot": "a"}') == {"ok": True}
        assert ask('{"request": "remove-snapshot", "export": "disk", "snapshot": "b"}')["error"] == "NOTFOUND"
        lines.write('{"request": "snapshot", "export": "disk", "snapshot": "b"}\n' * 2)
        lines.flush()
        assert json.loads(lines.readline())["ok"] and json.loads(lines.readline())["error"] == "CONFLICT"
        lines.write("x" * 5000)
        lines.flush()
        try:
            assert lines.readline() == ""
        except ConnectionResetError:
            pass
    server.kill()
    assert os.listdir(folder) == [inside]
    server.start()
    assert inside not in os.listdir(folder), "what a killed server left was not removed"
    server.stop()
    assert os.listdir(folder) == []


FORKS = 1000


@plain_only
@limit(400)
@on("dir")
def test_a_thousand_forks(case):
    """Of one disk that is open, each written a little; removed in random order but for a few."""
    rng = random.Random(int(os.environ.get("SEED", 1)))
    folder = case.path("run")
    os.mkdir(folder)
    server = case.server(auto_create="8M", env={"XDG_RUNTIME_DIR": folder})
    path = os.path.join(folder, os.listdir(folder)[0], "control")
    base = os.urandom(MIB)
    began = time.monotonic()
    with clients.connect(server.uri("disk")) as handle, socket.socket(socket.AF_UNIX) as talk:
        handle.pwrite(base, 0)
        talk.connect(path)
        lines = talk.makefile("rw", encoding="utf-8")

        def ask(**request):
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
            assert answer["ok"], (request, answer)
        names = [f"fork{n}" for n in range(FORKS)]
        for name in names:
            ask(request="fork", export="disk", child=name)
        made = time.monotonic() - began
        for n, name in enumerate(names):
            with clients.connect(server.uri(name)) as fork:
                fork.pwrite(n.to_bytes(4, "big") * 128, 4096 * (n % 256))
        rng.shuffle(names)
        for name in names[10:]:
            ask(request="remove", export=name)
        for name in names[:10]:
            n = int(name[4:])
            at = 4096 * (n % 256)
            with clients.connect(server.uri(name)) as fork:
                assert fork.pread(MIB, 0) == base[:at] + n.to_bytes(4, "big") * 128 + base[at + 512:], name
        assert handle.pread(MIB, 0) == base
    server.stop()
    assert len(json.loads(case.ashlar("ls", "--json"))) == 11
    return f"{FORKS} forks made in {made:.1f} s"


def asked(relay):
    """Manifests, records, blocks and pages; without what comes by the clock and what the checkpoint before
    leaves to be done: its log is listed and deleted."""
    kinds = ("/exports/", "/blocks/", "/maps/")
    paths = [path.split("?")[0] for method, path in relay.requests if method in ("PUT", "GET")]
    return sum(1 for path in paths if any(kind in path for kind in kinds))


@limit(240)
@on("rgw", "minio")
def test_requests_of_a_live_snapshot_and_fork(case):
    """The same number for 1 GiB and for 1 TiB; nothing was written since the last checkpoint."""
    counts = {}
    for size in ("1G", "1T"):
        case.ashlar("create", f"disk{size}", size)
        relay = Relay(case.store.daemon.endpoint)
        server = case.server(url=case.store.url_through(relay.endpoint))
        with clients.connect(server.uri(f"disk{size}")) as handle:
            handle.pwrite(os.urandom(4096), 0)
            case.ashlar("snapshot", f"disk{size}@zero")
            relay.reset()
            case.ashlar("snapshot", f"disk{size}@one")
            snapshot = asked(relay)
            relay.reset()
            case.ashlar("fork", f"disk{size}", f"child{size}")
            counts[size] = (snapshot, asked(relay))
        server.stop()
    assert counts["1G"] == counts["1T"], counts
    assert counts["1G"][0] <= 3 and counts["1G"][1] <= 4, counts
    return f"snapshot {counts['1G'][0]}, fork {counts['1G'][1]} requests of the server"


@limit(240)
@on("dir", "minio")
def test_fork_and_parent_under_load(case):
    """fio writes to a disk and verifies, and then to its fork; neither sees the other."""
    verify = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--bsrange=4k-64k", "--iodepth=8",
              "--rw=randwrite", "--fsync=64", "--size=16M", "--verify_state_save=0"]
    server = case.server(auto_create="16M")
    clients.fio(server.uri("disk"), "--randseed=7", *verify)
    with clients.connect(server.uri("disk")) as handle:
        before = handle.pread(16 * MIB, 0)
        case.ashlar("fork", "disk", "child")
        clients.fio(server.uri("child"), "--randseed=9", *verify)
        assert handle.pread(16 * MIB, 0) == before
        with clients.connect(server.uri("child")) as child:
            changed = child.pread(16 * MIB, 0)
            clients.fio(server.uri("disk"), "--randseed=11", *verify)
            assert child.pread(16 * MIB, 0) == changed
    server.stop()


ROUNDS = 20


@limit(400)
@on("dir")
def test_commands_killed_at_random(case):
    """Run again, each finishes."""
    rng = random.Random(int(os.environ.get("SEED", 1)))
    data = os.urandom(MIB)
    case.ashlar("import", image(case, "image", data), "disk")
    case.ashlar("snapshot", "disk@base")

    def killed_then_again(*arguments, already=""):
        env = {**os.environ, "ASHLAR_STORE": case.store.url, **case.store.env}
        command = subprocess.Popen([case.program(), *arguments], env=env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.random() * 0.06)
        command.kill()
        command.wait()
        done = case.ashlar(*arguments, status=None)
        assert done.returncode == 0 or (already and already in done.stderr), done.stderr
    for n in range(ROUNDS):
        killed_then_again("snapshot", f"disk@s{n}", already="already")
        killed_then_again("fork", f"disk@s{n}", f"fork{n}", already="exists already")
        killed_then_again("resize", f"fork{n}", "2M")
        killed_then_again("resize", f"fork{n}", "1M", "--shrink")
        killed_then_again("rollback", "disk@base", "--discard")
        killed_then_again("rm", f"disk@s{n}", already="no snapshot")
        if n % 2:
            killed_then_again("rm", f"fork{n}", already="no export")
    assert [s["name"] for s in info(case, "disk")["snapshots"]] == ["base"]
    assert content(case, "disk") == data
    for n in range(0, ROUNDS, 2):
        assert content(case, f"fork{n}") == data
    return f"{ROUNDS} rounds"
