"""What the errors of any database come to, and what a schema of another version means."""

from __future__ import annotations

from connector.errors import SchemaMismatch
from connector.store.schema import REVISION


def cause_of(error: BaseException) -> BaseException:
    """The driver's error, whether or not SQLAlchemy stands around it."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, BaseException) else error


def require_current(found: str | None, *, to_make: str, to_update: str) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's; the two texts say what makes and updates it."""
    if found == REVISION:
        return
    if found is None:
        raise SchemaMismatch(f"the store is empty: {to_make}")
    require_older(found)
    raise SchemaMismatch(f"the store's schema is {found}, this version works with {REVISION}: {to_update}")


def require_older(found: str, newest: str = REVISION) -> None:
    """Raises `SchemaMismatch` for a schema that a newer version made; revisions sort as texts."""
    if found > newest:
        raise SchemaMismatch(
            f"the store's schema is {found}, this version knows {newest} at most: run the newest connector"
        )
