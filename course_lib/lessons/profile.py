"""How long a lesson may take: `full` is what you read, `quick` is what the tests run.

Used by lessons 2 to 5 until their second editions; `lessons.settings` replaces it.
"""

import os

PROFILES = ("full", "quick")


def chosen_profile(parameter: str = "full") -> str:
    """Return the lesson's profile: COURSE_PROFILE where it is set, else the `parameter`.

    >>> chosen_profile("quick") in PROFILES
    True
    """
    profile = os.environ.get("COURSE_PROFILE") or parameter
    if profile not in PROFILES:
        origin = "COURSE_PROFILE" if os.environ.get("COURSE_PROFILE") else "the parameters cell"
        raise ValueError(f"profile {profile!r} came from {origin}: expected one of {PROFILES}")
    return profile
