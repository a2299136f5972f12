"""Tables for pandas, which is imported when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["data_frame"]


def data_frame(
    columns: Mapping[str, Any], units: Mapping[str, str] | None = None, **attrs: Any
) -> pd.DataFrame:
    """Return columns as a pandas table.

    Parameters
    ----------
    columns : mapping from name to entries
        All of one length.
    units : mapping from name to unit, optional
        Kept in ``frame.attrs["units"]``.
    **attrs
        Kept in ``frame.attrs``.
    """
    import pandas as pd

    frame = pd.DataFrame(dict(columns))
    frame.attrs.update(attrs)
    if units:
        frame.attrs["units"] = dict(units)
    return frame
