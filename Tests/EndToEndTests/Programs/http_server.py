#!/usr/bin/env python3
"""A small HTTP/1.1 server to test the impairment proxy with.

GET /N answers N bytes that depend on their offset only; PUT answers the SHA-256 of what arrived;
GET /chunked/N answers with chunked encoding; GET /count answers how many requests came before.
Prints ADDRESS:PORT once it listens.
"""
import hashlib
import http.server
import socketserver
import threading


def pattern(length):
    block = bytes(range(251)) * 4177
    return (block * (length // len(block) + 1))[:length]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = 0
    lock = threading.Lock()

    def count(self):
        with Handler.lock:
            Handler.seen += 1
            return Handler.seen - 1

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        before = self.count()
        words = self.path.strip("/").split("/")
        if words[0] == "count":
            return self.answer(str(before).encode())
        if words[0] != "chunked":
            return self.answer(pattern(int(words[0])))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = pattern(int(words[1]))
        for at in range(0, len(body), 70_000):
            piece = body[at:at + 70_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_HEAD = do_GET

    def do_PUT(self):
        self.count()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print("%s:%d" % server.server_address, flush=True)
    server.serve_forever()
