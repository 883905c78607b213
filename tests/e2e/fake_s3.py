"""A store that speaks S3 and takes no notice of If-Match and If-None-Match, as some do without a word.

Checks no signature, keeps everything in memory. Only for showing that such a store is refused.
"""

import hashlib
import http.server
import re
import threading
import urllib.parse
from xml.sax.saxutils import escape, unescape


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def key(self):
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.objects[self.key()] = body
        self.answer(200, ETag=etag(body))

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        if "list-type" in query:
            bucket = self.key().rstrip("/") + "/"
            found = "".join(
                f"<Contents><Key>{escape(key[len(bucket):])}</Key><Size>{len(body)}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for key, body in sorted(self.server.objects.items())
                if key.startswith(bucket + query.get("prefix", "")))
            text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
            return self.answer(200, text.encode())
        body = self.server.objects.get(self.key())
        if body is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self.answer(200, body, ETag=etag(body), Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT")

    do_HEAD = do_GET

    def do_DELETE(self):
        self.server.objects.pop(self.key(), None)
        self.answer(204)

    def do_POST(self):  # DeleteObjects
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        for key in re.findall("<Key>(.*?)</Key>", body):
            self.server.objects.pop(self.key().rstrip("/") + "/" + unescape(key), None)
        self.answer(200, b"<DeleteResult></DeleteResult>")

    def log_message(self, *_):
        pass


def etag(body):
    return '"' + hashlib.md5(body).hexdigest() + '"'


def start():
    """Its endpoint."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.objects = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
