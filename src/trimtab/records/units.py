"""Quantities as people read them."""


def memory_size(count: float) -> str:
    """Bytes: "3.10 GiB", "12.0 MiB"."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
