"""Refuses every look-up and connection: installed as sitecustomize.py where no empty network namespace can be made."""

import sys


def _refuse(event: str, _args: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}:
        raise PermissionError(f"{event}: this run must not use a network")


sys.addaudithook(_refuse)
