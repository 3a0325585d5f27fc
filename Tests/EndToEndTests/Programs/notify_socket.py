"""A service manager's notify socket: notify_socket.py NAME SECONDS; `@name` is an abstract one.

Prints what comes, datagram by datagram, each line by itself and then an empty one; ends with
STOPPING=1's sender or when the time is over.
"""
import socket
import sys
import time

name, seconds = sys.argv[1], float(sys.argv[2])
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("\0" + name[1:] if name.startswith("@") else name)
print("listening", flush=True)
end = time.monotonic() + seconds
while True:
    listener.settimeout(max(0.01, end - time.monotonic()))
    try:
        print(listener.recv(4096).decode(), flush=True)
    except TimeoutError:
        break
    print(flush=True)
