#!/usr/bin/env python3
"""Writes signatures.json: requests signed by botocore, an implementation independent of ours.

Usage: generate.py > signatures.json     (needs botocore)
"""
import datetime
import json
import sys
from unittest import mock
from urllib.parse import quote

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TOKEN = "FwoGZXIvYXdzE//////////wEaDEXAMPLE+token/with=signs=="
WHEN = datetime.datetime(2024, 2, 29, 23, 59, 58, tzinfo=datetime.timezone.utc)


def case(name, method="GET", host="bucket.s3.us-east-1.amazonaws.com", path="/key", query=(),
         headers=(), payload=EMPTY, token=None, region="us-east-1", when=WHEN):
    return dict(name=name, method=method, host=host, path=path, query=[list(q) for q in query],
                headers=[list(h) for h in headers], payload=payload, token=token, region=region,
                when=when)


ASCII = "".join(chr(c) for c in range(0x20, 0x7F))
CASES = [
    case("plain get"),
    case("session token", token=TOKEN),
    case("range", headers=[("Range", "bytes=0-1048575")]),
    case("another region", region="eu-central-1", host="bucket.s3.eu-central-1.amazonaws.com"),
    case("path style with port", host="127.0.0.1:8333", path="/bucket/prefix/g/x/root"),
    case("every printable ASCII character in the key", path="/bucket/" + ASCII.replace("/", "") + "/x"),
    case("every printable ASCII character in the query",
         query=[("prefix", ASCII), ("list-type", "2"), ("delimiter", "/")]),
    case("unicode key", path="/bucket/\u00fcml\u00e4ut/\u65e5\u672c/\U0001F600"),
    case("dots and double slashes stay", path="/bucket/a//b/./c/../d"),
    case("query sorted by name then value",
         query=[("b", "2"), ("a", "z"), ("a", "b"), ("a-b", "1"), ("B", "0"), ("a", "")]),
    case("query names that encode", query=[("x y", "1"), ("x+y", "2"), ("x%y", "3"), ("xé", "4")]),
    case("list", host="localhost:9000", path="/bucket",
         query=[("list-type", "2"), ("max-keys", "1000"), ("encoding-type", "url"),
                ("prefix", "a b+c/g/"), ("continuation-token", "1/abc+=& ==")]),
    case("conditional put", method="PUT", payload="UNSIGNED-PAYLOAD",
         headers=[("If-None-Match", "*"), ("x-amz-checksum-crc32c", "yZRlqg==")]),
    case("compare and swap", method="PUT",
         payload="b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
         headers=[("If-Match", '"0cc175b9c0f1b6a831c399e269772661"'),
                  ("x-amz-checksum-crc32c", "yZRlqg==")], token=TOKEN),
    case("a header name that is the beginning of another", method="PUT",
         headers=[("x-amz-copy-source-if-match", '"e"'), ("x-amz-copy-source", "/b/k")]),
    case("header name sorting against the colon", headers=[("x-amz-meta", "1"), ("x-amz-meta-a", "2"),
                                                           ("x-amz-meta0", "3")]),
    case("blanks in header values", headers=[("x-amz-meta-a", "  one   two  ")]),
    case("delete", method="DELETE", path="/bucket/k"),
    case("first day of the epoch's year", when=datetime.datetime(1970, 1, 1, 0, 0, 0, tzinfo=datetime.timezone.utc)),
]


class Clock(datetime.datetime):
    moment = WHEN

    @classmethod
    def utcnow(cls):
        return cls.moment.replace(tzinfo=None)

    @classmethod
    def now(cls, tz=None):
        return cls.moment


def url(entry):
    # The signer of botocore takes the path and the query as the wire has them.
    path = quote(entry["path"], safe="/-_.~")
    pairs = "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in entry["query"])
    return f"https://{entry['host']}{path}" + (f"?{pairs}" if pairs else "")


def moment():
    """Patches whichever clock this botocore reads."""
    patches = [mock.patch.object(botocore.auth.datetime, "datetime", Clock)] if hasattr(
        botocore.auth, "datetime") else []
    if hasattr(botocore.auth, "get_current_datetime"):
        patches.append(mock.patch.object(
            botocore.auth, "get_current_datetime",
            lambda remove_tzinfo=True: Clock.utcnow() if remove_tzinfo else Clock.now()))
    return patches


def sign(entry, signer_class, *extra):
    Clock.moment = entry["when"]
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", entry["token"])
    request = AWSRequest(method=entry["method"], url=url(entry), headers=dict(entry["headers"]))
    signer = signer_class(credentials, "s3", entry["region"], *extra)
    if signer_class is botocore.auth.S3SigV4Auth:
        signer.payload = lambda _request: entry["payload"]
    patches = moment()
    for patch in patches:
        patch.start()
    try:
        signer.add_auth(request)
    finally:
        for patch in patches:
            patch.stop()
    return request


def main():
    output = []
    for entry in CASES:
        request = sign(entry, botocore.auth.S3SigV4Auth)
        presigned = sign(dict(entry, headers=[], method="GET"), botocore.auth.S3SigV4QueryAuth, 3600)
        names = [name for name, _ in entry["query"]]
        # The query signer of botocore keeps one value of a name.
        presignature = presigned.url.rsplit("X-Amz-Signature=", 1)[1] if len(set(names)) == len(names) else None
        result = dict(entry, seconds=int(entry["when"].timestamp()),
                      date=request.headers["X-Amz-Date"],
                      authorization=request.headers["Authorization"],
                      signature=presignature)
        del result["when"]
        assert result["date"] == entry["when"].strftime("%Y%m%dT%H%M%SZ"), "the clock is not patched"
        output.append(result)
    json.dump(dict(signer=f"botocore {botocore.__version__}", cases=output), sys.stdout, indent=1)
    print()


main()
