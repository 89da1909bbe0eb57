"""URIs as they may be shown and stored: without the passwords, keys and signatures that they may hold."""

import re

HIDDEN = "***"

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"(://[^?\s'\"]*)\?[^\s'\"]*")


def safe(text: str) -> str:
    """A URI, or a text that holds some, without user, password and query (signed URLs carry their key there)."""
    return _QUERY.sub(rf"\1?{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def without_login(uri: str) -> str:
    """A URI that still opens in a browser, where the user logs in again."""
    return _LOGIN.sub("", uri)


def is_hidden(uri: str) -> bool:
    """Whether `safe` has taken something away."""
    return f"{HIDDEN}@" in uri or uri.endswith(f"?{HIDDEN}")
