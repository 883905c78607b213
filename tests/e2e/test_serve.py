"""serve: signals, listeners, and who gets an export."""

import json
import os
import signal

import clients
from harness import MIB, on, quick, until


@quick
@on("dir")
def test_signals_end_it_cleanly(case):
    pid_file = case.path("pid")
    server = case.server("--pid-file", pid_file, auto_create="16M")
    for number in (signal.SIGTERM, signal.SIGINT):
        with open(pid_file, encoding="ascii") as file:
            assert int(file.read()) == server.process.pid
        with clients.connect(server.uri()) as handle:
            handle.pwrite(b"s" * 4096, 0)
        server.process.send_signal(number)
        assert server.wait_for_death(30) == 0
        assert not os.path.exists(pid_file)
        assert json.loads(case.ashlar("info", "disk", "--json"))["closed"] is True
        server.start()
        with clients.connect(server.uri()) as handle:
            assert handle.pread(4096, 0) == b"s" * 4096


@quick
@on("dir")
def test_ipv6_and_several_listeners(case):
    server = case.server("--listen", "[::1]:0", tcp=True, auto_create="16M")
    with clients.connect(server.tcp_uri()) as handle:
        handle.pwrite(b"6" * 512, 0)
    port = until(lambda: [w for w in server.log().split() if w.startswith("nbd://[::1]:")], 5, "its line")[0]
    with clients.connect(port.split("/")[0] + "//" + port.split("/")[2] + "/disk") as handle:
        assert handle.pread(512, 0) == b"6" * 512


@quick
@on("dir")
def test_the_heartbeat_says_which_port(case):
    """--listen HOST:0: others are told the port that was bound."""
    server = case.server("--listen", "127.0.0.1:0", "--lease-ttl", "3s", auto_create="16M")
    uris = until(lambda: [w for w in server.log().split() if w.startswith("nbd://127.0.0.1:")], 5, "its line")
    address = uris[0].split("/")[2]

    def told():
        beats = [json.loads(case.store.get(key)) for key in case.store.keys("servers/")]
        return any(address in beat["addresses"] for beat in beats)

    until(told, 10, f"{address} in the heartbeat")


@quick
@on("dir")
def test_default_export(case):
    case.ashlar("create", "main", "16M")
    server = case.server("--default-export", "main")
    with clients.connect(server.uri("")) as handle:
        assert handle.get_size() == 16 * MIB


@quick
@on("dir")
def test_two_servers_one_wins(case):
    """Two servers on one export: the second refuses it until the first has let it go."""
    first, second = case.server(auto_create="16M"), case.server(auto_create="16M")
    with clients.connect(first.uri("fought over")) as handle:
        handle.pwrite(b"1" * 512, 0)
        try:
            clients.connect(second.uri("fought over"))
        except clients.nbd.Error:
            pass
        else:
            raise AssertionError("two servers served one export")
        handle.flush()
    until(lambda: connects(second, "fought over"), 10, "the export is free after the first let it go")


def connects(server, export):
    try:
        with clients.connect(server.uri(export)) as handle:
            return handle.pread(512, 0) == b"1" * 512
    except clients.nbd.Error:
        return False
