"""Stands between ashlar and an S3 server and counts the requests: an HTTP relay that changes nothing."""

import collections
import socket
import threading


class Relay:
    """Forwards to `endpoint` (http://host:port). `requests` holds (method, path) in the order of arrival."""

    def __init__(self, endpoint):
        host, port = endpoint.split("//")[1].split(":")
        self.target = (host, int(port))
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def count(self, method=None, without=("/servers/",)):
        """How many since the last reset; heartbeats left out, which come by the clock."""
        return sum(1 for m, path in self.requests
                   if (method is None or m == method) and not any(word in path for word in without))

    def by_kind(self):
        kinds = (f"{method} {path.split('?')[0].split('/')[3:4]}" for method, path in self.requests)
        return dict(collections.Counter(kinds))

    def reset(self):
        self.requests = []

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.upward, args=(client, server), daemon=True).start()
            threading.Thread(target=pump, args=(server, client), daemon=True).start()

    def upward(self, client, server):
        """Reads heads to know where a request begins; bodies have a Content-Length, or none."""
        try:
            held = b""
            while True:
                while b"\r\n\r\n" not in held:
                    more = client.recv(65536)
                    if not more:
                        return
                    held += more
                head, held = held.split(b"\r\n\r\n", 1)
                lines = head.decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ", 2)
                self.requests.append((method, path))
                fields = dict(line.lower().split(":", 1) for line in lines[1:])
                assert "transfer-encoding" not in fields, head
                left = int(fields.get("content-length", "0"))
                server.sendall(head + b"\r\n\r\n" + held[:left])
                left, held = left - len(held[:left]), held[left:]
                while left:
                    more = client.recv(min(left, 1 << 20))
                    if not more:
                        return
                    server.sendall(more)
                    left -= len(more)
        except OSError:
            pass
        finally:
            close(client, server)


def pump(source, target):
    try:
        while True:
            piece = source.recv(1 << 20)
            if not piece:
                return
            target.sendall(piece)
    except OSError:
        pass
    finally:
        close(source, target)


def close(*sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()
