"""Memory that Python has freed and the C library keeps."""

import ctypes


def release_memory() -> None:
    """Give free memory back to the system, where the C library can (glibc).

    A table of thousands of columns is encoded in thousands of small arrays. When they are freed,
    glibc keeps their pages for later ones: as much memory as the table has.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
