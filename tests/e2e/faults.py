"""An HTTP relay between a client and an S3 server that misbehaves as it is told, request by request.

`rule(request)` is asked for every request and returns one of
    None                 forwarded, the answer too
    "reset"              the connection is reset when the head has come; nothing is forwarded
    "lose"               forwarded and answered, but the connection is reset instead of the answer
    "cut"                forwarded; half of the answer's content comes, then the connection is closed
    "silent"             never answered, the connection stays open; nothing is forwarded
    "hang up"            forwarded and answered; the next request on this connection is reset, as by a
                         server that gave up an idle connection
    ("answer", status, code[, message[, fields]])    not forwarded: an S3 error
    ("late", seconds)    forwarded after a while
    ("head", {name: value})   forwarded; these fields of the answer's head are replaced
"""

import socket
import struct
import threading
import time


class Request:
    def __init__(self, method, path, fields, number, connection):
        self.method, self.path, self.fields = method, path, fields
        self.number = number          # from 0, over all connections
        self.connection = connection  # from 0


class FaultyRelay:
    def __init__(self, endpoint, rule=lambda request: None):
        host, port = endpoint.split("//")[1].split(":")
        self.target = (host, int(port))
        self.rule = rule
        self.requests = []
        self.connections = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self.connections += 1
            threading.Thread(target=self.serve, args=(client, number), daemon=True).start()

    def serve(self, client, connection):
        server = None
        stream = client.makefile("rb")
        try:
            hang_up = False
            while True:
                read = read_head(stream)
                if not read:
                    break
                first, fields, raw = read
                method, path, _ = first.split(" ", 2)
                with self.lock:
                    request = Request(method, path, fields, len(self.requests), connection)
                    self.requests.append(request)
                if hang_up:
                    raise Reset
                action = self.rule(request)
                if action == "reset":
                    raise Reset
                body = stream.read(int(fields.get("content-length", "0")))
                if action == "silent":
                    time.sleep(600)
                    break
                if isinstance(action, tuple) and action[0] == "answer":
                    client.sendall(error(*action[1:], head_only=method == "HEAD"))
                    continue
                if isinstance(action, tuple) and action[0] == "late":
                    time.sleep(action[1])
                if not server:
                    server = socket.create_connection(self.target)
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    answers = server.makefile("rb")
                server.sendall(raw + body)
                head, content = read_answer(answers, method)
                if action == "lose":
                    raise Reset
                if action == "cut":
                    client.sendall(head + content[:len(content) // 2])
                    break
                if isinstance(action, tuple) and action[0] == "head":
                    head = replace_fields(head, action[1])
                client.sendall(head + content)
                hang_up = action == "hang up"
        except Reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            stream.close()
            client.close()
            if server:
                answers.close()
                server.close()


class Reset(Exception):
    pass


def read_head(stream):
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        raw += line
    lines = raw.decode("latin-1").split("\r\n")
    fields = dict((n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in lines[1:] if line))
    return lines[0], fields, raw


def read_answer(stream, method):
    read = read_head(stream)
    if not read:
        raise OSError("the server closed the connection")
    first, fields, raw = read
    if method == "HEAD" or first.split()[1] == "204":
        return raw, b""
    if fields.get("transfer-encoding") == "chunked":
        content = b""
        while not content.endswith(b"0\r\n\r\n"):
            content += stream.readline()
        return raw, content
    return raw, stream.read(int(fields.get("content-length", "0")))


def replace_fields(head, fields):
    lines = head.decode("latin-1").split("\r\n")
    for name, value in fields.items():
        lines = [line for line in lines if not line.lower().startswith(name.lower() + ":")]
        lines.insert(1, f"{name}: {value}")
    return "\r\n".join(lines).encode("latin-1")


def error(status, code, message="said the test", fields=None, head_only=False):
    content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    fields = {"Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
              "Content-Length": len(content), **(fields or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + (b"" if head_only else content)
