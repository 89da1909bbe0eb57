"""URIs that are safe to show and store, and the libraries that open them.

URIs may hold passwords, keys and signatures. `safe` removes them.
"""

import re

HIDDEN = "***"

# The extra of this package that installs the library for each bucket protocol.
BUCKETS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}

# A password may hold any character, so that everything up to the last @ may be one.
_LOGIN = re.compile(r"(?<=://)(?:[^/?#:@\s'\"]*:(?:(?!://)[^\s'\"])*|[^/?#]*)@")
_QUERY = re.compile(r"(://[^?\s'\"]*)\?[^\s'\"]*")


def safe(text: str) -> str:
    """A URI, or a text with URIs in it, without user, password and query.

    Signed URLs carry their key in the query.
    """
    return _QUERY.sub(rf"\1?{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def without_login(uri: str) -> str:
    """The URI without user and password. It opens in a browser, where the user logs in again."""
    return _LOGIN.sub("", uri)


def is_hidden(uri: str) -> bool:
    """Whether `safe` removed something from this URI."""
    return f"{HIDDEN}@" in uri or uri.endswith(f"?{HIDDEN}")


def protocol(uri: str) -> str:
    """The part before `://`, such as `s3`; the whole text when there is none."""
    return uri.partition("://")[0]


def first_line(error: object) -> str:
    """The first line of an error message without secrets; the type's name when it is empty."""
    text = str(error).strip()
    return safe(text.splitlines()[0].strip()) if text else type(error).__name__


def missing_library(uri: str, error: ImportError) -> str:
    """The message for a URI whose file system needs a library that is not installed."""
    extra = BUCKETS.get(protocol(uri))
    remedy = f'pip install "mlflow-warmstart[{extra}]"' if extra else "install that library"
    return (
        f"{uri} needs a library for {protocol(uri)}:// that is not installed "
        f"({first_line(error)}); {remedy}"
    )
