"""What a person types: commands, flags, variables, exit statuses, what is said when something is wrong."""

import hashlib
import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import time

from clients import connect, info, run
from harness import MIB, limit, on, quick, until


class Command:
    """ashlar as a process that is looked at while it runs."""

    def __init__(self, case, *arguments, store=True, **options):
        self.command = [case.program(), *map(str, arguments)]
        env = {**os.environ, **(case.store.env if store else {}), **options.pop("env", {})}
        if store:
            env["ASHLAR_STORE"] = case.store.url
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen(self.command, env=env, text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, **options)

    def end(self, status, timeout=60):
        """(stdout, stderr) of a process that ends with that status."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.command} did not end: {self.process.communicate()}") from None
        print(f"$ {self.command} -> {self.process.returncode}\n{out}{err}")
        assert self.process.returncode == status, f"{self.command}: status {self.process.returncode}: {err}"
        return out, err


def says(case, words, *arguments, status=2, env=None, stdin=None):
    """The command fails with that status and one sentence that has the words."""
    done = case.ashlar(*arguments, status=None, env=env, stdin=stdin)
    assert done.returncode == status, f"{arguments}: status {done.returncode}, not {status}: {done.stderr}"
    last = done.stderr.strip().split("\n")[-1]
    assert last.startswith("ashlar: ") and words in last, f"{arguments}: {last!r} does not say {words!r}"


def image(path, size, pieces, seed=7):
    """A sparse file with random bytes at (offset, length)."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in pieces:
            file.seek(offset)
            file.write(rng.randbytes(length))
    return path


def same(a, b):
    run("cmp", a, b)


# ------------------------------------------------------------------------------------------- words

@quick
def test_help_and_version(case):
    assert re.fullmatch(r"ashlar \d+\.\d+\.\d+\n", case.ashlar("--version"))
    commands = re.findall(r"^  ([a-z]+) .*", case.ashlar("--help"), flags=re.M)
    assert commands == ["serve", "create", "ls", "info", "snapshot", "fork", "rollback", "resize", "rm",
                        "import", "export", "check", "diff", "gc"]
    for command in commands:
        text = case.ashlar(command, "--help")
        assert text.startswith(f"usage: ashlar {command}") and "--store URL" in text
        assert all(len(line) <= 120 for line in text.split("\n"))
    case.ashlar("serve", "--cache-size", "nonsense", "--help")
    page = open(os.path.join(os.path.dirname(__file__), "../../man/ashlar.1"), encoding="utf-8").read()
    flags = set(re.findall(r"--[a-z-]+", "".join(case.ashlar(command, "--help") for command in commands)))
    missing = [flag for flag in flags if flag.replace("-", "\\-") not in page and flag != "--some-name"]
    assert not missing, f"the manual lacks {missing}"


@quick
def test_misuse_is_status_2(case):
    assert case.ashlar(status=None).returncode == 2
    says(case, 'no command "creat"; did you mean "create"?', "creat")
    says(case, "NAME[@SNAPSHOT] is missing", "info")
    says(case, "SIZE is missing", "create", "x")
    says(case, '"more" is one argument too many', "ls", "more")
    says(case, "no option --jsn; did you mean --json?", "ls", "--jsn")
    says(case, "--listen wants a value", "serve", "--listen")
    says(case, 'the size is "10Q"', "create", "x", "10Q")
    says(case, 'the size is "0"', "create", "x", "0")
    says(case, 'the size is "-1"', "create", "--", "x", "-1")
    says(case, "9E", "create", "x", "9E")
    says(case, "--block-size", "create", "x", "1G", "--block-size", "2K")
    says(case, "power of two", "create", "x", "1G", "--block-size", "5000")
    says(case, "object", "create", "x", "1G", "--object-size", "5000000")
    says(case, "@", "create", "a@b", "1G")
    says(case, "name", "create", "", "1G")
    says(case, "name", "create", "n" * 241, "1G")
    says(case, "nonsense", "serve", "--listen", "nonsense")
    says(case, "the least is 4 MiB", "serve", "--write-buffer", "1M")
    says(case, "the least is 3s", "serve", "--lease-ttl", "1s")
    says(case, "debug, info, warn", "serve", "--log-level", "loud")
    says(case, "no open descriptor", "serve", "--ready-fd", "77")
    says(case, 'ASHLAR_CACHE_SIZE is "x"', "serve", env={"ASHLAR_CACHE_SIZE": "x"})
    says(case, "ftp:", "--store", "ftp://x", "ls")
    says(case, "--size", "import", "-", "x")
    assert case.store.keys() == {}, "misuse left something in the store"


@quick
def test_the_store_is_named_in_three_ways(case):
    other = case.new_store()
    case.ashlar("create", "here", "1M")
    case.ashlar("--store", other.url, "create", "there", "1M")
    case.ashlar("create", "--store", other.url, "beyond", "1M")
    names = [e["name"] for e in json.loads(case.ashlar("ls", "--json"))]
    assert names == ["here"]
    names = [e["name"] for e in json.loads(case.ashlar("ls", "--json", store=other))]
    assert names == ["beyond", "there"]
    home = case.path("home")
    for variables, folder in (({"HOME": home}, f"{home}/.local/share/ashlar"),
                              ({"HOME": home, "XDG_DATA_HOME": f"{home}/data"}, f"{home}/data/ashlar")):
        out, _ = Command(case, "create", "mine", "1M", store=False, env=variables).end(0)
        assert f"in file:{folder}" in out and os.path.exists(f"{folder}/format"), out


# --------------------------------------------------------------------------------------- the table

@quick
@on("dir", "rgw", "minio")
def test_create_ls_info_rm(case):
    assert case.ashlar("ls").startswith("there are no exports in ")
    assert json.loads(case.ashlar("ls", "--json")) == []
    case.ashlar("create", "b", "10G")
    case.ashlar("create", "a disk/ü", "1.5TiB", "--block-size", "64K", "--object-size", "1M",
                "--durable-writes")
    says(case, 'an export "b" already', "create", "b", "1G", status=1)
    table = case.ashlar("ls").split("\n")
    assert table[0].split() == ["NAME", "SIZE", "MAPPED", "STORED", "STATE"]
    assert re.fullmatch(r"a disk/ü +1\.5 TiB +0 B +0 B +closed", table[1]), table
    first, second = json.loads(case.ashlar("ls", "--json"))
    assert json.loads(case.ashlar("ls", "-s", "--json"))[0] == \
        json.loads(case.ashlar("info", "a disk/ü", "--json"))
    assert first["size"] == 3 << 39 and first["block_size"] == 65536 and first["object_size"] == MIB
    assert first["durable_writes"] is True and second["durable_writes"] is False
    assert second == {"name": "b", "size": 10 << 30, "block_size": 131072, "object_size": 4 * MIB,
                      "durable_writes": False, "mapped": 0, "stored": 0, "objects_at_most": 0,
                      "epoch": second["epoch"], "breaks": 0, "closed": True, "held": False, "holder": None}
    assert "size            10 GiB (10737418240 bytes)\n" in case.ashlar("info", "b")
    case.ashlar("rm", "b")
    says(case, 'no export "b"', "info", "b", status=1)
    says(case, 'no export "b"', "rm", "b", status=1)
    case.ashlar("create", "b", "4096")
    assert json.loads(case.ashlar("info", "b", "--json"))["size"] == 4096
    assert not case.store.keys("servers/"), "a command left its heartbeat"


# ------------------------------------------------------------------------------- import and export

@quick
@on("dir", "rgw", "minio")
def test_import_and_export(case):
    size = 96 * MIB + 1000
    original = image(case.path("image"), size, [(0, 9 * MIB), (30 * MIB - 700, 2 * MIB), (size - 300, 300)])
    out = case.ashlar("import", original, "disk")
    assert out.startswith("imported disk: 96.0 MiB, of which 11"), out
    found = json.loads(case.ashlar("info", "disk", "--json"))
    assert found["size"] == size and found["closed"] and 11 * MIB <= found["mapped"] <= 12 * MIB, found
    copy = case.path("copy")
    with open(copy, "wb") as file:
        file.write(b"x" * 200 * MIB)
    case.ashlar("export", "disk", copy)
    same(original, copy)
    assert os.stat(copy).st_blocks * 512 < 13 * MIB, "the copy is not sparse"
    says(case, "--force", "import", original, "disk", status=1)
    other = image(case.path("other"), 5 * MIB, [(MIB, MIB)], seed=8)
    case.ashlar("import", "--force", other, "disk")
    case.ashlar("export", "disk", copy)
    same(other, copy)
    before = sum(case.store.keys("blocks/").values())
    twins = image(case.path("twins"), 128 * MIB, [(0, 120 * MIB)], seed=9)
    with open(twins, "r+b") as file:
        first = file.read(8 * MIB)
        file.seek(120 * MIB)
        file.write(first)
    case.ashlar("import", twins, "twins")
    stored = sum(case.store.keys("blocks/").values()) - before
    assert stored < 121 * MIB, f"{stored} bytes are stored for 120 MiB, of which 8 are there twice"
    says(case, "No such file", "import", case.path("nothing"), "x", status=1)
    says(case, 'no export "x"', "export", "x", copy, status=1)
    says(case, "neither a file nor a block device", "export", "disk", case.folder, status=1)
    same(other, copy)


@quick
@on("dir")
def test_streams(case):
    size = 20 * MIB + 77
    original = image(case.path("image"), size, [(3 * MIB, 5 * MIB), (size - 9, 9)])
    with subprocess.Popen(["cat", original], stdout=subprocess.PIPE) as cat:
        case.ashlar("import", "-", "piped", "--size", size, stdin=cat.stdout)
    piped = case.path("piped")
    with open(piped, "wb") as file, \
            subprocess.Popen([case.program(), "--store", case.store.url, "export", "piped", "-"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        file.write(process.stdout.read())
        summary = process.stderr.read().decode()
    assert process.returncode == 0 and "exported piped" in summary, summary
    same(original, piped)
    with open(original, "rb") as file:
        case.ashlar("import", "-", "redirected", stdin=file)
    with open(case.path("sparse"), "wb") as file:
        subprocess.run([case.program(), "--store", case.store.url, "export", "redirected", "-"], stdout=file,
                       stderr=subprocess.DEVNULL, check=True)
    same(original, case.path("sparse"))
    assert os.stat(case.path("sparse")).st_blocks * 512 < 7 * MIB
    with subprocess.Popen(["cat", original], stdout=subprocess.PIPE) as cat:
        says(case, "what was written of long is removed again", "import", "-", "long", "--size", size - 1,
             status=1, stdin=cat.stdout)
    with subprocess.Popen(["cat", original], stdout=subprocess.PIPE) as cat:
        out = case.ashlar("import", "-", "short", "--size", "1G", stdin=cat.stdout)
    assert "standard input ended after 20.0 MiB" in out, out
    assert [e["name"] for e in json.loads(case.ashlar("ls", "--json"))] == ["piped", "redirected", "short"]


@quick
@on("dir")
def test_an_interrupted_import_is_removed(case):
    reading, writing = os.pipe()
    command = Command(case, "import", "-", "half", "--size", "1G", stdin=reading)
    os.close(reading)
    os.write(writing, os.urandom(65536))
    until(lambda: "half" in case.ashlar("ls"), 20, "the export is there")
    for _ in range(100):
        os.write(writing, os.urandom(65536))
    command.process.send_signal(signal.SIGINT)
    _, err = command.end(1)
    os.close(writing)
    assert "interrupted" in err and "what was written of half is removed again" in err, err
    assert json.loads(case.ashlar("ls", "--json")) == []


@quick
@on("dir")
def test_a_bar_on_a_terminal(case):
    original = image(case.path("image"), 300 * MIB, [(0, 200 * MIB)])
    leader, follower = pty.openpty()
    command = subprocess.Popen([case.program(), "--store", case.store.url, "import", original, "disk"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass
    assert command.wait(60) == 0
    bar = rb"\rimport +\d+% \[[#-]+\] [\d.]+ [KMG]?i?B of 300 MiB, [\d.]+ [KMG]?i?B/s"
    assert re.search(bar, shown), shown
    assert shown.endswith(b"\r\x1b[K"), "the bar was not wiped"


# ------------------------------------------------------------------------------------------- serve

@quick
@on("dir")
def test_a_held_export_is_left_alone(case):
    server = case.server(auto_create="64M")
    client = connect(server.uri("busy"))
    found = json.loads(case.ashlar("info", "busy", "--json"))
    assert found["held"] and f"pid {server.process.pid}" in found["holder"], found
    assert f"held by {found['holder']}" in case.ashlar("ls")
    original = image(case.path("image"), MIB, [(0, 5)])
    says(case, "1 client is connected", "rm", "busy", status=1)
    for arguments in (("import", "--force", original, "busy"), ("export", "busy", case.path("out"))):
        says(case, f"pid {server.process.pid}", *arguments, status=1)
    assert not os.path.exists(case.path("out")), "the file was made before the export was there"
    client.shutdown()
    until(lambda: not json.loads(case.ashlar("info", "busy", "--json"))["held"], 20, "it is given back")
    case.ashlar("rm", "busy")


def started(case, *arguments, **options):
    """(command, URIs) of a server that is ready."""
    reading, writing = os.pipe()
    command = Command(case, "serve", "--ready-fd", writing, *arguments, pass_fds=[writing], **options)
    os.close(writing)
    text = b""
    while chunk := os.read(reading, 4096):
        text += chunk
    os.close(reading)
    assert text, command.process.communicate()
    return command, text.decode().split()


@quick
@on("dir")
def test_serve_says_where_it_is(case):
    path = case.path("a socket")
    command, uris = started(case, "--listen", "127.0.0.1:0", "--listen", "[::1]:0",
                            "--listen", f"unix:{path}", "--auto-create", "64M",
                            "--default-export", "main", "--pid-file", case.path("pid"))
    assert re.fullmatch(r"nbd://127\.0\.0\.1:\d+/", uris[0]) and re.fullmatch(r"nbd://\[::1\]:\d+/", uris[1])
    for uri in uris:
        assert run("nbdinfo", "--size", uri) == f"{64 * MIB}\n"
    with open(case.path("pid"), encoding="ascii") as file:
        assert int(file.read()) == command.process.pid
    command.process.send_signal(signal.SIGHUP)
    assert run("nbdinfo", "--size", uris[2]) == f"{64 * MIB}\n"
    command.process.terminate()
    out, err = command.end(0)
    assert not os.path.exists(case.path("pid")) and not os.path.exists(path)
    port = uris[0].split(":")[-1][:-1]
    assert uris[0] + "main" in out and f"nbd-client 127.0.0.1 {port} -N main" in out, out
    assert re.search(r"totals: .*store_put=[1-9]", err), err
    assert json.loads(case.ashlar("info", "main", "--json"))["closed"]


@quick
@on("dir")
def test_the_printed_lines_work(case):
    case.ashlar("create", "demo", "64M")
    command, _ = started(case, "--listen", f"unix:{case.path('s')}")
    lines = []
    while not lines or "nbdcopy" not in lines[-1]:
        lines.append(command.process.stdout.readline())
    printed = "".join(lines)
    for tool in ("nbdinfo", "qemu-img info"):
        line = re.search(rf"^.*?({tool} .*)$", printed, flags=re.M).group(1)
        assert subprocess.run(line, shell=True, stdout=subprocess.DEVNULL, check=False).returncode == 0, line
    image(case.path("disk.img"), 64 * MIB, [(0, MIB)])
    line = re.search(r"(nbdcopy .*)$", printed, flags=re.M).group(1)
    subprocess.run(line, shell=True, cwd=case.folder, check=True)
    command.process.send_signal(signal.SIGINT)
    command.end(0)
    case.ashlar("export", "demo", case.path("copy"))
    same(case.path("disk.img"), case.path("copy"))


@quick
@on("dir")
def test_variables_and_flags(case):
    path = case.path("s")
    command, uris = started(case, "--auto-create", "32M",
                            env={"ASHLAR_LISTEN": f"unix:{path}", "ASHLAR_AUTO_CREATE": "16M",
                                 "ASHLAR_READ_ONLY": "yes", "ASHLAR_DEFAULT_EXPORT": "d",
                                 "ASHLAR_LOG_LEVEL": "error"})
    found = info(uris[0])
    assert found["is_read_only"] and found["export-size"] == 32 * MIB, found
    command.process.terminate()
    _, err = command.end(0)
    assert "INFO" not in err, err


@quick
@on("dir")
def test_socket_activation(case):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    uri = f"nbd://127.0.0.1:{listening.getsockname()[1]}/disk"
    script = f'exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
    process = subprocess.Popen(["sh", "-c", script, case.program(), "--store", case.store.url, "serve",
                                "--auto-create", "8M"], pass_fds=[listening.fileno()],
                               stdin=subprocess.DEVNULL)
    listening.close()
    assert run("nbdinfo", "--size", uri) == f"{8 * MIB}\n"
    process.terminate()
    assert process.wait(30) == 0


@on("rgw")
@limit(180)
def test_a_second_signal_gives_up(case):
    store = case.new_store(private=True)
    env = {**store.env, "ASHLAR_STORE": store.url}
    command, uris = started(case, "--listen", f"unix:{case.path('s')}", "--auto-create", "64M",
                            store=False, env=env)
    client = connect(uris[0].replace("///", "///disk"))
    client.pwrite(b"flushed!" * 512, 0)
    client.flush()
    client.pwrite(b"not that" * 512, 4096)
    store.daemon.stop(kill=True)
    command.process.terminate()
    try:
        command.process.wait(3)
        raise AssertionError("it ended without its store")
    except subprocess.TimeoutExpired:
        pass
    command.process.terminate()
    _, err = command.end(1, timeout=20)
    assert "what was flushed is safe" in err, err
    store.daemon.start()
    case.ashlar("export", "disk", case.path("copy"), store=store)
    with open(case.path("copy"), "rb") as file:
        assert file.read(4096) == b"flushed!" * 512


@quick
@on("dir")
def test_an_address_in_use(case):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        says(case, f"127.0.0.1:{taken.getsockname()[1]}", "serve", "--listen",
             f"127.0.0.1:{taken.getsockname()[1]}", status=1)


# --------------------------------------------------------------------------- stores that do not work

@quick
@on("dir")
def test_unusable_directories(case):
    with open(case.path("file"), "wb"):
        pass
    for command in (("ls",), ("create", "x", "1M"), ("serve",)):
        says(case, case.path("file"), "--store", f"file:{case.path('file')}", *command, status=1)
    rest = b' "ashlar": 2,\n "kind": "format"\n}\n'
    digits = hashlib.sha256(rest).hexdigest().encode()
    case.store.put("format", b'{"sha256":"' + digits + b'",\n' + rest)
    before = case.store.keys()
    for command in (("ls",), ("create", "x", "1M"), ("serve",)):
        says(case, "version", *command, status=1)
    assert case.store.keys() == before


@limit(60)
def test_an_unreachable_endpoint(case):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{unused.getsockname()[1]}"
        url = f"s3://bucket?endpoint=http://{endpoint}&path_style=1&region=r"
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        commands = [Command(case, "--store", url, *arguments, store=False, env=keys) for arguments in
                    (("ls",), ("create", "x", "1M"), ("serve", "--listen", f"unix:{case.path('s')}"))]
        for command in commands:
            _, err = command.end(1, timeout=25)
            assert endpoint in err.strip().split("\n")[-1], err


@on("rgw", "minio")
@limit(240)
def test_wrong_bucket_and_credentials(case):
    url = case.store.url
    missing = re.sub(r"^s3://[^/]+", "s3://no-such-bucket-here", url)
    for command in (("ls",), ("create", "x", "1M"), ("serve", "--listen", f"unix:{case.path('s')}")):
        says(case, "no-such-bucket-here", "--store", missing, *command, status=1)
        began = time.monotonic()
        done = case.ashlar("--store", url, *command, status=None,
                           env={"AWS_SECRET_ACCESS_KEY": "wrong" * 8})
        assert done.returncode == 1, done.stderr
        assert re.search(r"credentials|denied|signature", done.stderr, re.I), done.stderr
        assert time.monotonic() - began < 25
