"""The names by which the server is called: its own, and those that a proxy has for it."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers

from app.serving.limits import RefusedError
from data.errors import UserError

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")


def public_name(text: str) -> str:
    """A public name as browsers write it: in lower case, without the port that `https` has anyway.

    Raises:
        UserError: it is not the name of a host.
    """
    name = text.lower().removesuffix(":443")
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {text}: expected the name of a host, such as translate.example.org, with :PORT if that is not 443"
        )
    return name


class Names:
    """Distinguishes requests that are meant for the server from those that a foreign page makes a browser send.

    Args:
        hosts: names that a request may have as `Host`; none for any. They keep a foreign page from reaching a server on
            loopback by the page's own name.
        public: names, with ports if needed, under which a proxy with TLS passes requests on.
    """

    def __init__(self, hosts: Collection[str] = (), public: Collection[str] = ()):
        self._public = frozenset(map(_without_port, public))
        self._hosts = frozenset(map(str.lower, hosts)) | self._public if hosts else frozenset[str]()
        self._origins = frozenset(f"https://{name}" for name in public)

    def check(self, headers: Headers) -> bool:
        """Whether a request came by a public name.

        Raises:
            RefusedError: it is not for this server, or comes from a page of another site.
        """
        host = headers.get("host", "").lower()
        name, origin = _without_port(host), headers.get("origin")
        if self._hosts and name not in self._hosts:
            raise RefusedError(403, "the server is not known by this name; its option --name can allow it")
        # A proxy may have replaced the name that the browser knows with the server's own address.
        if origin is not None and origin not in self._origins and origin.partition("://")[2] != host:
            raise RefusedError(403, "pages of other sites may not use this server; its option --name can allow one")
        return name in self._public


def _without_port(host: str) -> str:
    return host if host.endswith("]") else host.rsplit(":", 1)[0]
