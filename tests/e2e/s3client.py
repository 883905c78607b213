"""The few S3 requests that tests make themselves, signed with AWS Signature Version 4."""

import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import xml.etree.ElementTree


class S3Client:
    def __init__(self, endpoint, access_key, secret_key, region):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.access_key, self.secret_key, self.region = access_key, secret_key, region
        self.connection = None

    def request(self, method, path, query=None, body=b"", headers=None):
        """(status, headers, body)"""
        path = urllib.parse.quote(path)
        pairs = sorted((query or {}).items())
        text = "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs)
        signed = self.sign(method, path, text, body, headers or {})
        for attempt in (1, 2):  # a kept connection may have been closed meanwhile
            if not self.connection:
                self.connection = http.client.HTTPConnection(self.host, timeout=60)
            try:
                self.connection.request(method, f"{path}?{text}" if text else path, body, signed)
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise

    def sign(self, method, path, query, body, headers):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {**headers, "host": self.host, "x-amz-date": now, "x-amz-content-sha256": digest}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join((method, path, query, lines, names, digest))
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = ("AWS4" + self.secret_key).encode()
        for word in (now[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},"
                                    f"SignedHeaders={names},Signature={signature}")
        return headers

    def expect(self, wanted, answer):
        status, _, body = answer
        assert status in wanted, f"S3 answered {status}: {body[:300]}"
        return body

    def get(self, bucket, key):
        return self.expect((200,), self.request("GET", f"/{bucket}/{key}"))

    def put(self, bucket, key, content):
        self.expect((200,), self.request("PUT", f"/{bucket}/{key}", body=content))

    def delete(self, bucket, key):
        self.expect((200, 204), self.request("DELETE", f"/{bucket}/{key}"))

    def list(self, bucket, prefix):
        """{key: size}"""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            body = self.expect((200,), self.request("GET", f"/{bucket}", query))
            tree = xml.etree.ElementTree.fromstring(body)
            space = tree.tag[:tree.tag.index("}") + 1] if tree.tag.startswith("{") else ""
            for item in tree.iter(f"{space}Contents"):
                found[item.find(f"{space}Key").text] = int(item.find(f"{space}Size").text)
            token = tree.findtext(f"{space}NextContinuationToken")
            if not token:
                return found


def quote(text):
    return urllib.parse.quote(text, safe="-_.~")
