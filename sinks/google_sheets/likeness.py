"""Whose row it is, when its id does not say: by what was last written there. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

EMAIL = "candidate_email"
WHO = frozenset({EMAIL, "candidate_name", "candidate_phone", "external_id", "created_at"})
"""Fields that hardly two interviews have in common, all together."""
LEAST_WHO = 2
LEAST_CELLS = 4
LEAST_SHARE = 0.6


def likeness(written: Mapping[str, Hashable], held: Mapping[str, Hashable]) -> int:
    """How many cells of a row hold what was written for an interview, `None` and fields without a column apart; 0 when
    the row cannot be its own.

    It is its own when at least four of its cells fit, and 60 % of them, and who it is: its e-mail, or two of the other
    fields that tell and all of these but one (people correct an address too).
    """
    fits = {name: held[name] == value for name, value in written.items() if value is not None and name in held}
    same = sum(fits.values())
    who = [fit for name, fit in fits.items() if name in WHO]
    is_who = fits.get(EMAIL, False) or (sum(who) >= LEAST_WHO and sum(who) >= len(who) - 1)
    return same if is_who and same >= LEAST_CELLS and same >= LEAST_SHARE * len(fits) else 0


def best_pairs(
    lost: Mapping[str, Mapping[str, Hashable]], rows: Mapping[int, Mapping[str, Hashable]]
) -> Mapping[str, int]:
    """For each lost id the row that is most like what was written for it, each row at most once."""
    scores = [(likeness(written, held), key, row) for key, written in lost.items() for row, held in rows.items()]
    pairs: dict[str, int] = {}
    for score, key, row in sorted(scores, key=lambda each: (-each[0], each[1:])):
        if score and key not in pairs and row not in pairs.values():
            pairs[key] = row
    return pairs
