#!/usr/bin/env python3
"""Sends requests over one connection and prints what came of each, one JSON object a line.

usage: http_client.py ADDRESS:PORT [--timeout SECONDS] REQUEST...
REQUEST is `METHOD:/path` or, with a body of that many bytes, `PUT:/path:BYTES`.
"""
import argparse
import hashlib
import http.client
import json
import socket
import time

from http_server import pattern


def differing_bits(one, other):
    return sum(bin(a ^ b).count("1") for a, b in zip(one, other) if a != b)


def send(connection, text):
    method, path, *size = text.split(":")
    body = pattern(int(size[0])) if size else None
    result = {"request": text}
    start = time.monotonic()
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        result["status"] = response.status
        result["headers"] = {k.lower(): v for k, v in response.getheaders()}
        result["first_byte_seconds"] = time.monotonic() - start
        data = response.read()
    except http.client.IncompleteRead as error:
        data, result["error"] = error.partial, "incomplete"
    except (ConnectionResetError, BrokenPipeError):
        data, result["error"] = b"", "reset"
    except http.client.RemoteDisconnected:
        data, result["error"] = b"", "disconnected"
    except (socket.timeout, TimeoutError):
        data, result["error"] = b"", "timeout"
    except ConnectionRefusedError:
        data, result["error"] = b"", "refused"
    result["seconds"] = time.monotonic() - start
    result["length"] = len(data)
    result["differing_bits"] = differing_bits(data, pattern(len(data)))
    if body is not None:
        result["body_arrived"] = data.decode(errors="replace") == hashlib.sha256(body).hexdigest()
    if len(data) < 1000 and method != "HEAD":
        result["text"] = data.decode("latin-1")
    if "error" in result:
        connection.close()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--timeout", type=float, default=20)
    parser.add_argument("requests", nargs="+")
    arguments = parser.parse_args()
    peer = http.client.HTTPConnection(arguments.address, timeout=arguments.timeout)
    for request in arguments.requests:
        print(json.dumps(send(peer, request)), flush=True)
