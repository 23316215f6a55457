def lookup(payload: dict) -> dict:
    """Look up a rate.

    Args:
        payload: The currency.
    """
    return {"rate": 1.1}
