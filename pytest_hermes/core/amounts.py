"""Counts, times and amounts of money as endpoints and earlier versions give them, read without ever failing."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation

#: An answer of more tokens, an attempt of more seconds, or a price of more dollars is a mistake of whoever says so.
#: Beyond these, sums would overflow and lines of a summary would have no end.
_MOST = 10**12
_MOST_SECONDS = 1e12
_MOST_DOLLARS = 10**9

#: Decimal places of dollars that are kept: a float's digits at a price of a millionth of a dollar need 23.
_PLACES = 40
_ROUNDING = Context(prec=60)

#: Characters of a number that is a text.
_LONGEST = 60


def count(value: object) -> int:
    """Return a number of tokens, turns and the like: 0 for what is not one, such as a text, NaN, or one below 0."""
    if type(value) is int:  # nearly always, and asked ten times for each of thousands of records
        return value if 0 <= value <= _MOST else 0
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= _MOST else 0


def seconds(value: object) -> float:
    """Return a number of seconds: 0 for what is not one."""
    if type(value) is float:
        return value if 0 <= value <= _MOST_SECONDS else 0.0
    number = _number(value)
    return float(number) if number is not None and 0 <= number <= _MOST_SECONDS else 0.0


def money(value: object) -> Decimal | None:
    """Return an amount of dollars: None for what is not one, such as `"1e999999"`, NaN, or a number below 0."""
    number = _number(value)
    if number is None or not 0 <= number <= _MOST_DOLLARS:
        return None
    exponent = number.as_tuple().exponent
    fits = isinstance(exponent, int) and exponent >= -_PLACES
    return number if fits else number.quantize(Decimal(1).scaleb(-_PLACES), context=_ROUNDING)


def _number(value: object) -> Decimal | None:
    """Return a finite number, by the digits that were sent rather than a float's binary value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int) and abs(value) > _MOST:  # of any length, which takes long to read
        return None
    if isinstance(value, str) and len(value) > _LONGEST:
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
